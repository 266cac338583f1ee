package relay

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// limited has a server go by shared secrets, and clients by what they give.
func limited(secrets ...SharedSecret) func(*ServerConfig) {
	return func(c *ServerConfig) {
		c.Authenticators = nil
		for _, s := range secrets {
			c.Authenticators = append(c.Authenticators, s)
		}
	}
}

func as(s SharedSecret, name string, until time.Time) func(*ClientConfig) {
	return func(c *ClientConfig) { c.Username, c.Password = s.Credentials(name, until) }
}

// TestClientRenewsItsCredentials: the allocation goes on past the end of those that
// made it, with the same address, permissions and channels.
func TestClientRenewsItsCredentials(t *testing.T) {
	const secret = "north"
	w := newWorld(t, limited(SharedSecret(secret)))
	const life = 5 * time.Minute
	h := w.client(clientA, as(SharedSecret(secret), "carol", w.now.Add(life)))
	relayed := h.mustAllocate()
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	h.takeEvents()
	for i := range 12 {
		h.pass(life / 2)
		h.do(func(c *Client, now time.Time) {
			c.SetCredentials(now, secretOf(secret).name("carol", now.Add(life)), secretOf(secret).password("carol", now.Add(life)))
		})
		events := h.takeEvents()
		if len(events) != 1 {
			t.Fatalf("renewal %d: events %v, want one Renewed", i, events)
		}
		if _, ok := events[0].(Renewed); !ok {
			t.Fatalf("renewal %d: %T %+v, want Renewed", i, events[0], events[0])
		}
	}
	if now, ok := h.Relayed(); !ok || now != relayed {
		t.Errorf("after half an hour relayed at %v, %v, want still %v", now, ok, relayed)
	}
	if st := w.server.Stats(); st.Allocations != 1 || st.Created != 1 || st.Permissions != 1 {
		t.Errorf("%+v, want the one allocation with its permission", st)
	}
	if len(w.server.accounts) != 1 || w.server.accounts["carol"] != 1 {
		t.Errorf("accounts %v, want carol with one allocation", w.server.accounts)
	}
	// Without renewal it ends, at the refresh after the credentials' end.
	h.pass(20 * time.Minute)
	if err := lostEvent(h.takeEvents()); !errors.Is(err, ErrCredentials) {
		t.Errorf("nothing was renewed any more: %v, want %v", err, ErrCredentials)
	}
}

// secretOf splits what Credentials gives.
type secretOf string

func (s secretOf) name(who string, until time.Time) string {
	name, _ := SharedSecret(s).Credentials(who, until)
	return name
}

func (s secretOf) password(who string, until time.Time) string {
	_, password := SharedSecret(s).Credentials(who, until)
	return password
}

// TestClientOfAnotherUser: a server that does not take the new credentials for the
// old ones' user makes a new allocation, in place of the old one.
func TestClientOfAnotherUser(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	before := h.mustAllocate()
	h.do(func(c *Client, now time.Time) { c.SetCredentials(now, "bob", "secret-b") })
	if err := lostEvent(h.takeEvents()); !errors.Is(err, ErrOtherUser) || !stun.IsCode(err, 441) {
		t.Fatalf("lost with %v, want %v and 441", err, ErrOtherUser)
	}
	h.do((*Client).Rebind)
	after, ok := h.Relayed()
	if !ok || after == before || w.server.Stats().Allocations != 1 || w.server.accounts["bob"] != 1 {
		t.Errorf("relayed at %v, %v (before: %v); allocations of %v", after, ok, before, w.server.accounts)
	}
}

// TestClientGetsCredentialsBeforeItHasAnAllocation: the next request has them, and
// an answer to one with the old ones still counts.
func TestClientGetsCredentialsBeforeItHasAnAllocation(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, func(c *ClientConfig) { c.Password = "wrong" }).start()
	h.do(func(c *Client, now time.Time) { c.SetCredentials(now, "alice", "secret-a") })
	h.takeEvents()
	h.mustAllocate()

	other := w.client(clientB, nil)
	other.lose = func([]byte) bool { return true }
	other.do((*Client).Start)
	other.do(func(c *Client, now time.Time) { c.SetCredentials(now, "bob", "secret-b") })
	other.lose = nil
	other.pass(10 * time.Second)
	if _, ok := other.Relayed(); !ok {
		t.Errorf("credentials that came while asking: events %v", other.takeEvents())
	}
}

// TestSecretsChange: what an allocation was made with is good for it until it
// expires; new allocations need what is good now.
func TestSecretsChange(t *testing.T) {
	north, south, east := SharedSecret("north"), SharedSecret("south"), SharedSecret("east")
	w := newWorld(t, limited(north))
	until := w.now.Add(20 * time.Minute)
	old := w.client(clientA, as(north, "carol", until))
	old.mustAllocate()
	if err := w.server.SetAuthenticators(nil); err == nil {
		t.Error("a server without credentials serves nobody, and does not say so")
	}
	set := func(secrets ...SharedSecret) {
		t.Helper()
		cfg := ServerConfig{}
		limited(secrets...)(&cfg)
		if err := w.server.SetAuthenticators(cfg.Authenticators); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		secrets []SharedSecret
		by      SharedSecret
		want    bool
	}{
		{[]SharedSecret{south, north}, north, true}, {[]SharedSecret{south, north}, south, true},
		{[]SharedSecret{south, north}, east, false},
		{[]SharedSecret{east, south}, north, false}, {[]SharedSecret{east, south}, south, true},
		{[]SharedSecret{east}, south, false},
	} {
		set(row.secrets...)
		h := w.client(clientB, as(row.by, "dave", until)).start()
		if _, ok := h.Relayed(); ok != row.want {
			t.Errorf("secrets %s, credentials by %s: allocated: %v, want %v", row.secrets, row.by, ok, row.want)
		}
		h.do((*Client).Close)
	}
	old.takeEvents()
	old.pass(15 * time.Minute) // refreshes the allocation, with a secret of three times ago
	if _, ok := old.Relayed(); !ok {
		t.Errorf("the first allocation is lost: %v", old.takeEvents())
	}
	// Who has the same name, by a secret that is gone, is nobody elsewhere.
	eve := w.user(netip.MustParseAddrPort("203.0.113.66:6"), secretOf("north").name("carol", until), secretOf("north").password("carol", until))
	eve.want(401, eve.do(pion.MethodAllocate, wantUDP))
	old.pass(20 * time.Minute)
	if _, ok := old.Relayed(); ok || w.server.Stats().Allocations != 0 {
		t.Error("the first allocation outlives its credentials")
	}
}

func TestReadSharedSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"a\n":                     "a",
		"a\r\nb":                  "a b",
		"with spaces in it\n\n":   "with spaces in it",
		"":                        "f:1: empty",
		"a\n\nb\n":                "f:2: empty",
		strings.Repeat("s\n", 9):  "f:9: more than 8",
		strings.Repeat("s", 4097): "longer than 4096",
	} {
		secrets, err := ReadSharedSecrets(strings.NewReader(text), "f")
		var got []string
		for _, s := range secrets {
			got = append(got, string(s))
		}
		if err == nil && strings.Join(got, " ") != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %q, %v, want %q", text, got, err, want)
		}
	}
}
