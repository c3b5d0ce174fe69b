"""``python tests/hostile --write`` takes all cases, and writes down how they ended."""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
from pathlib import Path

import trustme

import openssl_tickets

# Last, since in the checkout the package is not built.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.hostile import campaign, page


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/hostile", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="random hellos to each server")
    parser.add_argument("--write", action="store_true", help="write the page of the documentation")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return campaign.child(campaign.Task(**json.loads(arguments.child)))
    begun = time.monotonic()
    ends: collections.Counter[campaign.Ended] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="openssl_tickets-hostile-") as folder:
        server_file = Path(folder) / "server.pem"
        issued = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        issued.private_key_and_cert_chain_pem.write_to_path(str(server_file))
        for task in campaign.tasks(server_file, arguments.examples):
            ends.update(campaign.run(task))
    versions = " ".join(openssl_tickets.OPENSSL_VERSION.split()[:2])
    text = campaign.table(ends, time.monotonic() - begun, versions)
    print(text)
    bad = [end for _, end in ends if end in (campaign.CRASH, campaign.HANG, "resumed")]
    bad += [end for _, end in ends if end.startswith(campaign.FAILED)]
    if arguments.write and not bad:
        page.write("tickets and hellos", text)
    return int(bool(bad))


sys.exit(main())
