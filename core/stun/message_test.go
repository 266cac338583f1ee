package stun

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v3"
)

// The messages of RFC 5769: what our codec must read, and find authentic.
const (
	rfc5769Request = `
		000100582112a442b7e7a701bc34d686fa87dfae
		802200105354554e207465737420636c69656e74
		002400046e0001ff
		80290008932ff9b151263b36
		0006000965 76746a3a68367659202020
		000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
		80280004e57a3bcf`
	rfc5769IPv4Response = `
		0101003c2112a442b7e7a701bc34d686fa87dfae
		8022000b7465737420766563746f7220
		002000080001a147e112a643
		000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7
		80280004c07d4c96`
	rfc5769IPv6Response = `
		010100482112a442b7e7a701bc34d686fa87dfae
		8022000b7465737420766563746f7220
		002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
		00080014a382954e4be67bf11784c97c8292c275bfe3ed41
		80280004c8fb0b4c`
	rfc5769LongTerm = `
		000100602112a44278ad3433c6ad72c029da412e
		00060012e3839ee38388e383aae38383e382afe382b90000
		0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473 41
		0014000b6578616d706c652e6f726700
		00080014f67024656dd64a3e02b8e0712e85c9a28ca89666`
	rfc5769Password = "VOkJxbRl1RmTxUk/WvJxBt"
)

func packet(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatalf("test packet: %v", err)
	}
	return raw
}

func TestRFC5769(t *testing.T) {
	for name, c := range map[string]struct {
		packet string
		key    Integrity
		mapped string
	}{
		"request":             {rfc5769Request, ShortTerm(rfc5769Password), ""},
		"IPv4 response":       {rfc5769IPv4Response, ShortTerm(rfc5769Password), "192.0.2.1:32853"},
		"IPv6 response":       {rfc5769IPv6Response, ShortTerm(rfc5769Password), "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
		"long-term mechanism": {rfc5769LongTerm, LongTerm("\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9", "example.org", "TheMatrIX"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			raw := packet(t, c.packet)
			m, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.key.Check(m); err != nil {
				t.Errorf("the right key: %v", err)
			}
			if err := ShortTerm("wrong").Check(m); !errors.Is(err, ErrWrongIntegrity) {
				t.Errorf("a wrong key: %v, want ErrWrongIntegrity", err)
			}
			if c.mapped != "" {
				got, err := GetXORAddress(m, stun.AttrXORMappedAddress)
				if want := netip.MustParseAddrPort(c.mapped); err != nil || got != want {
					t.Errorf("XOR-MAPPED-ADDRESS is %v (%v), want %v", got, err, want)
				}
			}
			// One bit changed anywhere before FINGERPRINT: not a message, or
			// not authentic.
			end := len(raw)
			if m.Contains(stun.AttrFingerprint) {
				end -= 8
			}
			for i := range end {
				damaged := bytes.Clone(raw)
				damaged[i] ^= 0x01
				if m, err := Parse(damaged); err == nil && c.key.Check(m) == nil {
					t.Errorf("byte %d damaged: still parsed and authentic", i)
				}
			}
		})
	}
}

var id = [stun.TransactionIDSize]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

func build(t testing.TB, class stun.MessageClass, attributes ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := Build(stun.MethodBinding, class, id, attributes...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAddressesSurvive(t *testing.T) {
	for _, text := range []string{"192.0.2.1:1", "[2001:db8::1]:65535", "[::ffff:192.0.2.1]:80"} {
		want := netip.MustParseAddrPort(text)
		m := build(t, stun.ClassSuccessResponse,
			XORAddress{stun.AttrXORMappedAddress, want}, Address{stun.AttrMappedAddress, want})
		parsed, err := Parse(m.Raw)
		if err != nil {
			t.Fatal(err)
		}
		want = netip.AddrPortFrom(want.Addr().Unmap(), want.Port())
		if got, err := GetXORAddress(parsed, stun.AttrXORMappedAddress); err != nil || got != want {
			t.Errorf("%s XORed reads %v (%v)", text, got, err)
		}
		if got, err := GetAddress(parsed, stun.AttrMappedAddress); err != nil || got != want {
			t.Errorf("%s plain reads %v (%v)", text, got, err)
		}
	}
	if _, err := Build(stun.MethodBinding, stun.ClassRequest, id, XORAddress{Type: stun.AttrXORMappedAddress}); err == nil {
		t.Error("an attribute without an address is built")
	}
}

func TestParseRefuses(t *testing.T) {
	good := build(t, stun.ClassRequest, Uint32(stun.AttrLifetime, 1), stun.Fingerprint).Raw
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	after := build(t, stun.ClassRequest, stun.Fingerprint)
	after.Add(stun.AttrSoftware, []byte("late"))
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":                     {nil, ErrNotSTUN},
		"half a header":               {good[:10], ErrNotSTUN},
		"a truncated message":         {good[:len(good)-4], ErrNotSTUN},
		"bytes after the message":     {append(bytes.Clone(good), 0, 0, 0, 0), ErrNotSTUN},
		"no magic cookie":             {edit(func(b []byte) []byte { b[4]++; return b }), ErrNotSTUN},
		"ChannelData":                 {edit(func(b []byte) []byte { b[0] = 0x40; return b }), ErrNotSTUN},
		"a length not of words":       {edit(func(b []byte) []byte { b[3]--; return b[:len(b)-1] }), ErrNotSTUN},
		"an attribute too long":       {edit(func(b []byte) []byte { b[22] = 0xFF; return b }), ErrMalformed},
		"a wrong FINGERPRINT":         {edit(func(b []byte) []byte { b[len(b)-1]++; return b }), ErrFingerprint},
		"FINGERPRINT not the last":    {after.Raw, ErrMalformed},
		"MESSAGE-INTEGRITY too short": {build(t, stun.ClassRequest, Attribute{stun.AttrMessageIntegrity, make([]byte, 16)}).Raw, ErrMalformed},
	} {
		if _, err := Parse(c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestWhatFollowsIntegrityIsIgnored(t *testing.T) {
	key := ShortTerm("secret")
	m := build(t, stun.ClassRequest, Uint32(stun.AttrPriority, 1), key)
	m.Add(stun.AttrUseCandidate, nil) // an attacker's addition
	if err := stun.Fingerprint.AddTo(m); err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(m.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Check(parsed); err != nil {
		t.Errorf("what precedes MESSAGE-INTEGRITY is authentic, but: %v", err)
	}
	if parsed.Contains(stun.AttrUseCandidate) {
		t.Error("USE-CANDIDATE after MESSAGE-INTEGRITY is taken for authentic")
	}
	if !parsed.Contains(stun.AttrFingerprint) || !parsed.Contains(stun.AttrPriority) {
		t.Errorf("attributes left: %v; want PRIORITY and FINGERPRINT among them", parsed.Attributes)
	}
	if err := key.Check(build(t, stun.ClassRequest)); !errors.Is(err, ErrNoIntegrity) {
		t.Errorf("no MESSAGE-INTEGRITY: %v, want ErrNoIntegrity", err)
	}
}

func TestUnknownAttributes(t *testing.T) {
	m := build(t, stun.ClassRequest,
		Attribute{stun.AttrSoftware, []byte("optional")}, Attribute{0x7ABC, nil}, Attribute{0x7ABC, nil},
		Attribute{AttrPeerID, make([]byte, 32)}, Attribute{stun.AttrUsername, []byte("u")})
	unknown := UnknownRequired(m, AttrPeerID)
	if len(unknown) != 1 || unknown[0] != 0x7ABC {
		t.Fatalf("unknown are %v, want 0x7abc once", unknown)
	}
	r, err := Unknown(m, unknown)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(r.Raw)
	if err != nil {
		t.Fatal(err)
	}
	var listed stun.UnknownAttributes
	if err := listed.GetFrom(parsed); err != nil || len(listed) != 1 || listed[0] != 0x7ABC {
		t.Errorf("UNKNOWN-ATTRIBUTES lists %v (%v)", listed, err)
	}
	if !IsCode(ErrorOf(parsed), CodeUnknownAttribute) {
		t.Errorf("the response is %v, want error 420", ErrorOf(parsed))
	}
	many := build(t, stun.ClassRequest)
	for i := range 100 {
		many.Add(stun.AttrType(0x7000+i), nil)
	}
	if got := len(UnknownRequired(many)); got != maxUnknown {
		t.Errorf("100 unknown attributes: %d listed, want %d", got, maxUnknown)
	}
}

func TestErrors(t *testing.T) {
	for _, class := range []stun.MessageClass{stun.ClassIndication, stun.ClassSuccessResponse, stun.ClassErrorResponse} {
		if _, err := Error(build(t, class), CodeBadRequest, "x"); err == nil {
			t.Errorf("an error answers a message of class %v", class)
		}
	}
	m, err := Error(build(t, stun.ClassRequest), CodeNotFound, "no\x1b[31m such\npeer")
	if err != nil {
		t.Fatal(err)
	}
	var refused *ResponseError
	if got := ErrorOf(m); !errors.As(got, &refused) || refused.Code != 404 || refused.Reason != "no[31m suchpeer" {
		t.Errorf("read as %#v: want code 404 and no control bytes", got)
	}
	if got := ErrorOf(build(t, stun.ClassErrorResponse)); !IsCode(got, 0) {
		t.Errorf("without ERROR-CODE: %v, want code 0", got)
	}
	if got := ErrorOf(build(t, stun.ClassSuccessResponse)); got != nil {
		t.Errorf("a success: %v", got)
	}
}

func TestAttributesThatDoNotFit(t *testing.T) {
	if _, err := Build(stun.MethodBinding, stun.ClassRequest, id, Attribute{AttrOffer, make([]byte, 70000)}); err == nil {
		t.Error("an attribute of 70000 bytes is built")
	}
	m := build(t, stun.ClassRequest, Attribute{stun.AttrLifetime, []byte{1, 2, 3}})
	if v, err := GetUint32(m, stun.AttrLifetime); err == nil {
		t.Errorf("LIFETIME of three bytes reads %d", v)
	}
	if _, err := GetUint32(m, stun.AttrPriority); err == nil {
		t.Error("a missing attribute is read")
	}
}

// FuzzParse: whatever Parse takes can be read in every way without harm, and
// nobody authenticates without the key.
func FuzzParse(f *testing.F) {
	for _, p := range []string{rfc5769Request, rfc5769IPv4Response, rfc5769IPv6Response, rfc5769LongTerm} {
		f.Add(packet(f, p))
	}
	f.Add(build(f, stun.ClassErrorResponse, stun.ErrorCodeAttribute{Code: 420}, stun.UnknownAttributes{1, 2}).Raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		m, err := Parse(raw)
		if !bytes.Equal(raw, before) {
			t.Error("Parse changes what it reads")
		}
		if err != nil {
			return
		}
		for _, a := range m.Attributes {
			_, _ = GetXORAddress(m, a.Type)
			_, _ = GetAddress(m, a.Type)
			_, _ = GetUint32(m, a.Type)
		}
		_ = ErrorOf(m)
		_ = UnknownRequired(m)
		if ShortTerm("a key that no fuzzer knows").Check(m) == nil {
			t.Error("authentic under a key that nobody has used")
		}
		if !bytes.Equal(m.Raw, before) {
			t.Error("checking a message changes it")
		}
	})
}
