//go:build unix

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2pmodel/core/freeport"
	"p2pmodel/core/identity"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/ticket"
)

// TestKeysTicketsAndSecretsAreReadAnew: a peer is admitted by a ticket and a
// secret; the keys and the secrets change, it gets new ones, and goes on.
func TestKeysTicketsAndSecretsAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		// As a whole or not at all: a reload may come at any time.
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		return file
	}
	signer := func(n byte) *ticket.Signer {
		t.Helper()
		s, err := ticket.NewSigner(append(make([]byte, 31), n))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	seed := strings.Repeat("07", identity.Size)
	key, _ := identity.NewKey(strings.NewReader(strings.Repeat("\x07", identity.Size)))
	sign := func(s *ticket.Signer) string {
		t.Helper()
		raw, err := s.Sign(ticket.Ticket{Peer: key.ID(), Mesh: "hall", Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(raw) + "\n"
	}
	hangUp := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	first, second := signer(1), signer(2)
	keys := write("keys", ticket.FormatPublicKey(first.Public())+"\n")
	secret := write("secret", "north\n")
	shown := write("ticket", sign(first))

	rv := startProgram(t, "rendezvous", "--listen=127.0.0.1:0", "--ticket-keys="+keys)
	relay := startProgram(t, "relay", "--listen=127.0.0.1:0", "--relay-address=127.0.0.1", "--secret-file="+secret, "--allow-peer=127.0.0.0/8")
	word := func(line string, n int) string { return strings.Fields(line)[n] }
	at := word(rv.until(t, "rendezvous listening on "), 3)
	peer := startProgram(t, "peer", "--rendezvous="+at, "--ticket-file="+shown, "--seed="+seed, "--join=hall", "--keepalive=200ms",
		"--relay="+word(relay.until(t, "relay listening on "), 3), "--secret-file="+secret, "--username=test")
	reach := func(what ...string) {
		t.Helper()
		left := map[string]bool{}
		for _, w := range what {
			left[w] = true
		}
		for len(left) > 0 {
			line, more := <-peer.lines
			if !more {
				t.Fatalf("the peer ended before it said %v", left)
			}
			for w := range left {
				if strings.Contains(line, w) {
					delete(left, w)
				}
			}
		}
	}
	reach(" registered ", " relay ready ")

	// Both keys and both secrets are good while the peer gets its new ones.
	write("keys", ticket.FormatPublicKey(first.Public())+"\n"+ticket.FormatPublicKey(second.Public())+" # next\n")
	write("secret", "south\nnorth\n")
	hangUp()
	rv.says(t, "read again")
	relay.says(t, "read again")
	reach("p2pmodel: reload: --secret-file:") // two lines are none for a peer
	write("secret", "south\n")
	write("ticket", sign(second))
	hangUp()
	reach(" ticket renewed", " relay renewed ")
	rv.says(t, "read again")
	relay.says(t, "read again")

	// Then the old ones go, and a file that makes no sense changes nothing.
	write("keys", ticket.FormatPublicKey(second.Public())+"\n")
	hangUp()
	rv.says(t, "read again")
	write("keys", "no key at all\n")
	hangUp()
	if line := rv.says(t, "the files are broken"); !strings.Contains(line, "line 1") || !strings.Contains(line, "stays in use") {
		t.Errorf("a bad file: it says %q", line)
	}
	write("ticket", sign(second))
	write("keys", ticket.FormatPublicKey(first.Public())+"\n")
	hangUp() // the peer's key is gone: it is told so, and then its new ticket is of no use
	reach("Ticket Of An Unknown Key")
}

// What is replaced on the disk is used without a restart: the certificate, and who
// may log in.
func TestAccountsAndCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	accounts, data := filepath.Join(dir, "accounts.yaml"), filepath.Join(dir, "data")
	add := func(name string) {
		t.Helper()
		if code, _, says := executeWith(t.Context(), "a password\n", "account", "--accounts-file", accounts, name); code != 0 {
			t.Fatal(says)
		}
	}
	add("ann")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out output
	ended := make(chan int, 1)
	go func() {
		code, _ := execute(ctx, &out, "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(t, 2)), "--accounts-file", accounts)
		ended <- code
	}()
	agent := awaitText(t, &out, "  agent", ended)
	newGamer(t, "ann", trust(t, filepath.Join(data, "ca.crt")), client.Account("ann", "a password"), agent)

	add("bob")
	for _, file := range []string{"agent.crt", "agent.key"} {
		if err := os.Remove(filepath.Join(data, file)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := keepCertificate(data, []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	// Its login is tried until the new authority is the right one.
	newGamer(t, "bob", trust(t, filepath.Join(data, "ca.crt")), client.Account("bob", "a password"), agent)
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}
