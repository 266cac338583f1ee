package agent_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
)

// frames is an HTTP/2 connection that sends what it likes.
type frames struct {
	*http2.Framer
	conn   *tls.Conn
	out    *bytes.Buffer // frames that were not sent yet
	fields bytes.Buffer
	hpack  *hpack.Encoder
	cut    chan struct{} // closed when the server has cut it off

	mu     sync.Mutex
	resets int // RST_STREAM that came
}

func (w *world) frames(t *testing.T, a *running, settings ...http2.Setting) *frames {
	t.Helper()
	c, err := tls.Dial("tcp", a.endpoint, &tls.Config{RootCAs: w.trust, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := &frames{conn: c, out: &bytes.Buffer{}, cut: make(chan struct{})}
	f.Framer = http2.NewFramer(f.out, c)
	f.AllowIllegalWrites = true
	f.hpack = hpack.NewEncoder(&f.fields)
	f.out.WriteString(http2.ClientPreface)
	f.WriteSettings(settings...)
	f.flush()
	go func() {
		defer close(f.cut)
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if frame.Header().Type == http2.FrameRSTStream {
				f.mu.Lock()
				f.resets++
				f.mu.Unlock()
			}
		}
	}()
	return f
}

func (f *frames) flush() error {
	_, err := f.conn.Write(f.out.Bytes())
	f.out.Reset()
	return err
}

// header encodes the header of a request.
func (f *frames) header(path, token string) []byte {
	f.fields.Reset()
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "a"}, {":path", path},
		{"content-type", "application/proto"}, {"authorization", "Bearer " + token}} {
		f.hpack.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	return bytes.Clone(f.fields.Bytes())
}

func (f *frames) resetsSeen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resets
}

// Streams that are opened and reset at once, as many as go (CVE-2023-44487).
func TestRapidReset(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	h := w.honest(t, a)
	session := w.login(w.raw(a), "mallory")
	before, goroutines := inUse(), runtime.NumGoroutine()
	release := w.block("ListRooms")
	first := time.Now()
	for range 4 {
		f := w.frames(t, a)
		began := time.Now()
		for id := uint32(1); id < 20000 && time.Since(began) < 3*time.Second; id += 2 {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.header(agentv1connect.AgentServiceListRoomsProcedure, session.AccessToken), EndHeaders: true, EndStream: true})
			f.WriteRSTStream(id, http2.ErrCodeCancel)
			if id%50 == 49 {
				if f.flush() != nil {
					break // cut off
				}
			}
		}
		f.conn.Close()
		<-f.cut
	}
	if n, took := w.called("ListRooms"), time.Since(first); float64(n) > 40+20*took.Seconds() {
		t.Errorf("%d of them reached the inside in %v; a session may send 40, and 20 a second", n, took)
	}
	release()
	h.fared()
	eventually(t, "goroutines have ended", patience, func() bool { return runtime.NumGoroutine() <= goroutines+8 })
	if after := inUse(); after > before+8*mib {
		t.Errorf("%d MiB are in use, %d were before", after/mib, before/mib)
	}
}

// A header that never ends, in CONTINUATION frames (CVE-2023-45288).
func TestHeadersWithoutEnd(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	h := w.honest(t, a)
	before := inUse()
	f := w.frames(t, a)
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.header("/", "")})
	var err error
	for sent := 0; err == nil; sent += 8 << 10 {
		if sent > 64*mib {
			t.Fatal("64 MiB of a header were taken")
		}
		f.fields.Reset()
		f.hpack.WriteField(hpack.HeaderField{Name: "x", Value: string(bytes.Repeat([]byte("a"), 8<<10)), Sensitive: true})
		f.WriteContinuation(1, false, f.fields.Bytes())
		err = f.flush()
	}
	if after := inUse(); after > before+4*mib {
		t.Errorf("%d MiB are in use, %d were before", after/mib, before/mib)
	}
	h.fared()
}

// Clients that ask and make no place for the answer.
func TestAnswersThatNobodyTakes(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) {
		generous(c)
		c.Limits.WriteTimeout, c.Limits.RequestTimeout, c.Limits.BodyTimeout = 400*time.Millisecond, 400*time.Millisecond, 400*time.Millisecond
	})
	session := w.login(w.raw(a), "mallory")
	goroutines := runtime.NumGoroutine()
	f := w.frames(t, a, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for id := uint32(1); id < 21; id += 2 {
		path := agentv1connect.AgentServiceListRoomsProcedure
		if id == 19 {
			path = agentv1connect.AgentServiceEventsProcedure
		}
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.header(path, session.AccessToken), EndHeaders: true})
		f.WriteData(id, true, nil)
	}
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	// ListRooms has an answer of no bytes, so has nothing to wait for; bodies of
	// errors have some.
	for id := uint32(21); id < 41; id += 2 {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.header(agentv1connect.AgentServiceGetRoomProcedure, session.AccessToken), EndHeaders: true, EndStream: true})
	}
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "streams whose answers are not taken are reset", patience, func() bool { return f.resetsSeen() >= 10 })
	eventually(t, "their goroutines have ended", patience, func() bool { return runtime.NumGoroutine() <= goroutines+10 })
}

// Bodies that come a byte at a time, by streams of one connection.
func TestSlowBodiesByHTTP2(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) { generous(c); c.Limits.BodyTimeout = 3 * time.Second })
	h := w.honest(t, a)
	f := w.frames(t, a)
	for id := uint32(1); id < 41; id += 2 {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.header(agentv1connect.AgentServiceLoginProcedure, ""), EndHeaders: true})
		f.WriteData(id, false, []byte{0x0a})
	}
	if err := f.flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the requests are in work", patience, func() bool { return a.InWork() >= 20 })
	eventually(t, "the requests are given up", patience, func() bool { return a.InWork() <= 1 })
	h.fared()
}

// A connection that sends no HTTP/2 after it has agreed to.
func TestNoiseInsteadOfHTTP2(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	for _, noise := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0xff}, 1000), append([]byte(http2.ClientPreface), bytes.Repeat([]byte{0xff}, 1000)...)} {
		c, err := tls.Dial("tcp", a.endpoint, &tls.Config{RootCAs: w.trust, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write(noise)
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, io.ErrNoProgress) || isTimeout(err) {
			t.Errorf("%q… is not cut off", noise[:16])
		}
	}
}
