package ice

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"p2pmodel/core/punch"
)

func TestParseCandidate(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		name, text string
		want       Candidate
		err        error
	}{
		{"RFC 8839's host", "a=candidate:1 1 UDP 2130706431 203.0.113.141 8998 typ host",
			Candidate{Foundation: "1", Component: 1, Kind: punch.Host, Priority: 2130706431, Addr: at("203.0.113.141:8998")}, nil},
		{"RFC 8839's reflexive", "candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
			Candidate{Foundation: "2", Component: 1, Kind: punch.ServerReflexive, Priority: 1694498815, Addr: at("192.0.2.3:45664"), Related: at("203.0.113.141:8998")}, nil},
		{"a browser's, without prefix", "842163049 1 udp 1677729535 192.0.2.9 40000 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag 4ZcD network-cost 999",
			Candidate{Foundation: "842163049", Component: 1, Kind: punch.ServerReflexive, Priority: 1677729535, Addr: at("192.0.2.9:40000"), Related: at("0.0.0.0:0"), Ufrag: "4ZcD"}, nil},
		{"IPv6, relayed", "candidate:a+/ 1 udp 16777215 2001:db8::7 50000 typ relay raddr 2001:db8::1 rport 9",
			Candidate{Foundation: "a+/", Component: 1, Kind: punch.Relayed, Priority: 16777215, Addr: at("[2001:db8::7]:50000"), Related: at("[2001:db8::1]:9")}, nil},
		{"IPv4 in IPv6", "candidate:1 1 udp 1 ::ffff:192.0.2.1 5 typ host",
			Candidate{Foundation: "1", Component: 1, Kind: punch.Host, Priority: 1, Addr: at("192.0.2.1:5")}, nil},

		{"an mDNS name", "candidate:1 1 udp 2113937151 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 54596 typ host", Candidate{}, ErrUnsupported},
		{"TCP", "candidate:1 1 tcp 2105458943 192.0.2.1 9 typ host tcptype active", Candidate{}, ErrUnsupported},
		{"RTCP's component", "candidate:1 2 udp 2130706430 192.0.2.1 9001 typ host", Candidate{}, ErrUnsupported},
		{"a zone", "candidate:1 1 udp 2130706431 fe80::1%eth0 9001 typ host", Candidate{}, ErrUnsupported},
		{"a kind to come", "candidate:1 1 udp 2130706431 192.0.2.1 9001 typ quantum", Candidate{}, ErrUnsupported},
		{"port 0", "candidate:1 1 udp 2130706431 192.0.2.1 0 typ host", Candidate{}, ErrUnsupported},

		{"nothing", "", Candidate{}, ErrSyntax},
		{"too short", "candidate:1 1 udp 2130706431 192.0.2.1 9001", Candidate{}, ErrSyntax},
		{"an odd word", "candidate:1 1 udp 2130706431 192.0.2.1 9001 typ host generation", Candidate{}, ErrSyntax},
		{"a foundation with a dash", "candidate:a-b 1 udp 2130706431 192.0.2.1 9001 typ host", Candidate{}, ErrSyntax},
		{"a foundation of 33", "candidate:" + strings.Repeat("a", 33) + " 1 udp 2130706431 192.0.2.1 9001 typ host", Candidate{}, ErrSyntax},
		{"priority 0", "candidate:1 1 udp 0 192.0.2.1 9001 typ host", Candidate{}, ErrSyntax},
		{"priority 2³¹", "candidate:1 1 udp 2147483648 192.0.2.1 9001 typ host", Candidate{}, ErrSyntax},
		{"port 65536", "candidate:1 1 udp 1 192.0.2.1 65536 typ host", Candidate{}, ErrSyntax},
		{"a sign", "candidate:1 1 udp 1 192.0.2.1 +5 typ host", Candidate{}, ErrSyntax},
	} {
		got, err := ParseCandidate(c.text)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, err, c.want, c.err)
		}
		if c.err == nil {
			if again, err := ParseCandidate(got.String()); err != nil || again != got {
				t.Errorf("%s: %q reads back as %+v, %v", c.name, got, again, err)
			}
		}
	}
}

// TestParseDescription reads a browser's offer, of which most is not ours.
func TestParseDescription(t *testing.T) {
	text := "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-lite\r\n" +
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Yc+/\r\na=ice-pwd:" + strings.Repeat("x", 22) + "\r\n" +
		"a=ice-options:trickle renomination\r\na=fingerprint:sha-256 AA:BB\r\n" +
		"a=candidate:1 1 udp 2130706431 192.0.2.1 9001 typ host\r\na=candidate:2 1 tcp 2105458943 192.0.2.1 9 typ host tcptype active\r\n" +
		"a=end-of-candidates\r\n"
	want := Description{
		Ufrag: "Yc+/", Password: strings.Repeat("x", 22), Options: []string{"trickle", "renomination"}, Lite: true, Complete: true,
		Candidates: []Candidate{{Foundation: "1", Component: 1, Kind: punch.Host, Priority: 2130706431, Addr: netip.MustParseAddrPort("192.0.2.1:9001")}},
	}
	got, err := ParseDescription(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	if again, err := ParseDescription(got.String()); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%q reads back as %+v, %v", got, again, err)
	}
	for _, bad := range []string{
		"", "a=ice-ufrag:abc\na=ice-pwd:" + strings.Repeat("x", 22), "a=ice-ufrag:abcd\na=ice-pwd:" + strings.Repeat("x", 21),
		"a=ice-ufrag:ab:d\na=ice-pwd:" + strings.Repeat("x", 22), "a=ice-ufrag:abcd\na=ice-pwd:" + strings.Repeat("x", 257),
		got.String() + "a=candidate:1 1 udp\r\n",
	} {
		if _, err := ParseDescription(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v, want %v", bad, err, ErrSyntax)
		}
	}
}

// FuzzParseCandidate: what is read reads back, and has only addresses of use.
func FuzzParseCandidate(f *testing.F) {
	f.Add("a=candidate:1 1 UDP 2130706431 203.0.113.141 8998 typ host")
	f.Add("candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998 generation 0 ufrag abcd")
	f.Add("candidate:1 1 udp 2113937151 1f4712db.local 54596 typ host")
	f.Add("candidate:1 1 tcp 2105458943 2001:db8::1 9 typ host tcptype active")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCandidate(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if !c.Addr.IsValid() || c.Addr.Port() == 0 || c.Addr.Addr().Is4In6() || c.Priority == 0 || c.Component != 1 {
			t.Fatalf("%q is read as %+v", text, c)
		}
		if again, err := ParseCandidate(c.String()); err != nil || again != c {
			t.Fatalf("%q is read as %+v, and that as %+v, %v", text, c, again, err)
		}
	})
}

// FuzzParseDescription: what is read reads back.
func FuzzParseDescription(f *testing.F) {
	f.Add("a=ice-ufrag:abcd\r\na=ice-pwd:" + strings.Repeat("p", 22) + "\r\na=ice-options:ice2 trickle\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\na=end-of-candidates\r\n")
	f.Add("a=ice-lite\nice-ufrag:abcd\nice-pwd:0123456789012345678901\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDescription(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if again, err := ParseDescription(d.String()); err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%q is read as %+v, and that as %+v, %v", text, d, again, err)
		}
	})
}
