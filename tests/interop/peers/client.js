// A client of Node's tls: connects a few times, and prints what it saw as lines of JSON.
'use strict';
const fs = require('fs');
const tls = require('tls');

const [port, version, caFile, connections] = process.argv.slice(2);
const ca = fs.readFileSync(caFile);

function connect(kept) {
  return new Promise((resolve) => {
    const seen = { connected: false, resumed: false, tickets: 0, announced: 0, data: '', error: '' };
    const next = { ...kept };
    const socket = tls.connect({
      host: '127.0.0.1',
      port: Number(port),
      servername: 'localhost',
      ca,
      minVersion: `TLSv${version}`,
      maxVersion: `TLSv${version}`,
      session: kept.session,
    });
    socket.setTimeout(20000, () => socket.destroy(new Error('timeout')));
    socket.on('session', (session) => {
      seen.announced++;
      next.session = session;
    });
    socket.on('secureConnect', () => {
      seen.connected = true;
      seen.resumed = socket.isSessionReused();
      socket.write('hello\n');
    });
    socket.on('data', (data) => {
      seen.data += data;
      if (!seen.data.endsWith('\n')) return;
      seen.tickets = seen.announced;
      if (version === '1.2') {
        // The event is there for a new session, even one without a ticket, and not for a renewed
        // ticket. So take what the connection has in the end.
        const ticket = socket.getTLSTicket();
        seen.tickets = ticket && !(kept.ticket && ticket.equals(kept.ticket)) ? 1 : 0;
        Object.assign(next, { session: socket.getSession(), ticket });
      }
      socket.end();
    });
    socket.on('error', (error) => { seen.error = `${error.code}: ${error.message}`; });
    socket.on('close', () => resolve([seen, next]));
  });
}

async function main() {
  let kept = {};
  for (let left = Number(connections); left > 0; left--) {
    const [seen, next] = await connect(kept);
    console.log(JSON.stringify(seen));
    if (seen.error) process.exit(1);
    kept = next;
  }
}

main();
