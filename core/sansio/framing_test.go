package sansio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// stunOf is a STUN message with n bytes of attributes, channelOf ChannelData with n
// bytes of data.
func stunOf(n int) []byte {
	b := make([]byte, stunHeaderSize+n)
	b[1] = 1
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[4:], stunCookie)
	return b
}

func channelOf(n int) []byte {
	b := append([]byte{0x40, 1, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{'d'}, n)...)
	return b
}

func TestFraming(t *testing.T) {
	for _, row := range []struct {
		name     string
		message  []byte
		onStream int // 0: it cannot be on a stream
	}{
		{"a header alone", stunOf(0), 20},
		{"attributes", stunOf(48), 68},
		{"no data", channelOf(0), 4},
		{"padded", channelOf(5), 12},
		{"not padded", channelOf(8), 12},
		{"a peer's frame", append([]byte{8}, make([]byte, 40)...), 0},
		{"another protocol", []byte("SSH-2.0-OpenSSH_9.9"), 0},
		{"a request of a web browser", []byte("GET / HTTP/1.1\r\n\r\n"), 0},
		{"no cookie", make([]byte, 20), 0},
		{"an odd length", func() []byte { b := stunOf(3); return b }(), 0},
		{"cut off", stunOf(8)[:24], 0},
		{"with something behind", append(stunOf(8), 0), 0},
		{"too long", channelOf(2000), 0},
		{"nothing", nil, 0},
	} {
		on, ok := appendFrame([]byte("before"), row.message, 1000)
		if ok != (row.onStream > 0) || len(on) != len("before")+row.onStream {
			t.Errorf("%s: %d bytes on the stream, %v; want %d", row.name, len(on)-len("before"), ok, row.onStream)
		}
		if !ok {
			continue
		}
		got, rest, ok, err := deframe(append(on[len("before"):], "next"...), 1000)
		if err != nil || !ok || !bytes.Equal(got, row.message) || string(rest) != "next" {
			t.Errorf("%s: comes back as %x, followed by %q, %v, %v", row.name, got, rest, ok, err)
		}
	}
}

// readAllOf reads a stream as its goroutine does.
func readAllOf(r io.Reader, most int) (messages [][]byte, err error) {
	var b streamBatch
	var rest []byte
	for {
		err := b.fill(r, rest, most)
		for _, m := range b.messages {
			messages = append(messages, bytes.Clone(m))
		}
		if len(b.messages) > 0 {
			rest = append(rest[:0], b.rest()...)
		}
		if err != nil {
			return messages, err
		}
	}
}

// TestStreamsComeInPieces: however a stream is cut, its messages are the same.
func TestStreamsComeInPieces(t *testing.T) {
	var on []byte
	sent := [][]byte{stunOf(0), channelOf(1), stunOf(3000), channelOf(4001), channelOf(0), stunOf(4)}
	for _, m := range sent {
		on, _ = appendFrame(on, m, DefaultMaxFrame)
	}
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(on), "byte by byte": iotest.OneByteReader(bytes.NewReader(on)),
		"in halves": iotest.HalfReader(bytes.NewReader(on)), "the end with the data": iotest.DataErrReader(bytes.NewReader(on)),
	} {
		got, err := readAllOf(r, DefaultMaxFrame)
		if err != io.EOF || len(got) != len(sent) {
			t.Fatalf("%s: %d messages, %v; want %d and the end", name, len(got), err, len(sent))
		}
		for i := range sent {
			if !bytes.Equal(got[i], sent[i]) {
				t.Errorf("%s: message %d has %d bytes, want %d", name, i, len(got[i]), len(sent[i]))
			}
		}
	}
}

// TestWhatMakesNoSenseEndsAStream: but what came before it counts.
func TestWhatMakesNoSenseEndsAStream(t *testing.T) {
	for name, row := range map[string]struct {
		tail []byte
		want error
	}{
		"garbage":  {[]byte{0xff, 1, 2, 3}, errFrame},
		"too long": {channelOf(2000)[:4], errFrameSize},
	} {
		got, err := readAllOf(bytes.NewReader(append(stunOf(8), row.tail...)), 1000)
		if len(got) != 1 || !errors.Is(err, row.want) {
			t.Errorf("%s: %d messages, then %v; want 1, then %v", name, len(got), err, row.want)
		}
	}
}

// FuzzDeframe: what comes out goes in again, nothing is longer than it may be,
// memory follows what came, and it does not depend on how a stream is cut.
func FuzzDeframe(f *testing.F) {
	f.Add(stunOf(8))
	f.Add(append(channelOf(5), 0, 0, 0))
	f.Add(append(stunOf(0), channelOf(4)...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Add([]byte{0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42})
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 512
		whole, err := readAllOf(bytes.NewReader(b), most)
		bytewise, errBytewise := readAllOf(iotest.OneByteReader(bytes.NewReader(b)), most)
		if len(whole) != len(bytewise) || (err == io.EOF) != (errBytewise == io.EOF) {
			t.Fatalf("at once %d messages, %v; byte by byte %d, %v", len(whole), err, len(bytewise), errBytewise)
		}
		left := b
		for i, m := range whole {
			if !bytes.Equal(m, bytewise[i]) {
				t.Fatalf("message %d: %x at once, %x byte by byte", i, m, bytewise[i])
			}
			on, ok := appendFrame(nil, m, most)
			if !ok || len(on) > most || len(on) > len(left) || !bytes.Equal(m, left[:len(m)]) {
				t.Fatalf("message %d, %x, came out and does not go in again", i, m)
			}
			left = left[len(on):]
		}
	})
}
