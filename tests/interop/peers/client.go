// A client of Go's crypto/tls: connects a few times, and prints what it saw as lines of JSON.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

type visit struct {
	Connected bool   `json:"connected"`
	Resumed   bool   `json:"resumed"`
	Tickets   int    `json:"tickets"`
	Data      string `json:"data"`
	Error     string `json:"error"`
}

// The last session, and how many there have been: crypto/tls puts one for each ticket.
type cache struct {
	session *tls.ClientSessionState
	puts    int
}

func (c *cache) Get(string) (*tls.ClientSessionState, bool) { return c.session, c.session != nil }

func (c *cache) Put(_ string, session *tls.ClientSessionState) {
	c.session = session
	if session != nil { // nil takes away a session with which a handshake has failed
		c.puts++
	}
}

func connect(address string, config *tls.Config) (seen visit, err error) {
	plain, err := net.DialTimeout("tcp", address, 20*time.Second)
	if err != nil {
		return
	}
	plain.SetDeadline(time.Now().Add(20 * time.Second))
	connection := tls.Client(plain, config)
	defer connection.Close() // with a close_notify
	if err = connection.Handshake(); err != nil {
		return
	}
	seen.Connected, seen.Resumed = true, connection.ConnectionState().DidResume
	if _, err = io.WriteString(connection, "hello\n"); err == nil {
		seen.Data, err = bufio.NewReader(connection).ReadString('\n')
	}
	return
}

func main() {
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(os.Args[3])
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		panic("no certificates in " + os.Args[3])
	}
	version := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[2]]
	connections, _ := strconv.Atoi(os.Args[4])
	sessions := &cache{}
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version,
		MaxVersion: version, ClientSessionCache: sessions}
	for ; connections > 0; connections-- {
		before := sessions.puts
		seen, err := connect("127.0.0.1:"+os.Args[1], config)
		seen.Tickets = sessions.puts - before
		if err != nil {
			seen.Error = err.Error()
		}
		line, _ := json.Marshal(seen)
		fmt.Println(string(line))
		if err != nil {
			os.Exit(1)
		}
	}
}
