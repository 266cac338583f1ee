package peer_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"time"

	"github.com/quic-go/quic-go"

	"p2pmodel/core/peer"
)

// quicConfig fits QUIC into the datagrams of a Conn: packets of MaxPayload bytes, and
// no search for longer ones. The connection stays while the peers' paths change.
var quicConfig = &quic.Config{
	InitialPacketSize: peer.MaxPayload, DisablePathMTUDiscovery: true,
	MaxIdleTimeout: 30 * time.Second, KeepAlivePeriod: 10 * time.Second,
}

// quicTLS is what QUIC's own handshake needs. It proves nothing and has nothing to
// prove: whoever is at the other end of a Conn has its peer's key.
func quicTLS() (*tls.Config, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}},
		NextProtos:         []string{"file"},
		InsecureSkipVerify: true,
	}, nil
}

// sendFile serves a file on the first stream that the peer opens, and waits until it
// has it all.
func sendFile(ctx context.Context, conn *peer.Conn, file io.Reader) error {
	config, err := quicTLS()
	if err != nil {
		return err
	}
	transport := &quic.Transport{Conn: conn}
	defer transport.Close()
	listener, err := transport.Listen(config, quicConfig)
	if err != nil {
		return err
	}
	session, err := listener.Accept(ctx)
	if err != nil {
		return err
	}
	stream, err := session.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(stream, file); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	<-session.Context().Done() // the receiver closes
	return nil
}

// receiveFile asks for the file.
func receiveFile(ctx context.Context, conn *peer.Conn, to io.Writer) error {
	config, err := quicTLS()
	if err != nil {
		return err
	}
	transport := &quic.Transport{Conn: conn}
	defer transport.Close()
	session, err := transport.Dial(ctx, conn.RemoteAddr(), config, quicConfig)
	if err != nil {
		return err
	}
	stream, err := session.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	if err := stream.Close(); err != nil { // nothing to say but that we are here
		return err
	}
	if _, err := io.Copy(to, stream); err != nil {
		return err
	}
	return session.CloseWithError(0, "thank you")
}

// A file over QUIC: streams that lose nothing, over a connection that is direct where
// the NATs permit it.
func ExampleConn_quic() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	servers, err := startServers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer servers.stop()
	alice, err := servers.start(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()
	bob, err := servers.start(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()

	file := bytes.Repeat([]byte("a map of the dungeon\n"), 20_000)
	sent := make(chan error, 1)
	go func() {
		conn, err := bob.Accept(ctx)
		if err == nil {
			err = sendFile(ctx, conn, bytes.NewReader(file))
		}
		sent <- err
	}()
	conn, err := alice.Dial(ctx, bob.ID())
	if err != nil {
		log.Fatal(err)
	}
	var got bytes.Buffer
	if err := receiveFile(ctx, conn, &got); err != nil {
		log.Fatal(err)
	}
	if err := <-sent; err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Len(), "bytes, all as they were:", bytes.Equal(got.Bytes(), file))
	// Output: 420000 bytes, all as they were: true
}
