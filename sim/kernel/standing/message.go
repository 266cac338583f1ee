//go:build linux

package standing

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// protocol is the version of what is said on the socket. Both sides are one
// program, of which an older copy may hold a lab.
const protocol = 1

// request is the first thing that a client says. Its descriptors come with it.
type request struct {
	Protocol  int             `json:"protocol"`
	Call      string          `json:"call"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

// The calls.
const (
	callDescribe = "describe"
	callExec     = "exec"
	callMappings = "mappings"
	callRules    = "rules"
	callCapture  = "capture"
	callDiagram  = "diagram"
	callEvent    = "event"
	callHistory  = "history"
	callDown     = "down"
)

// answer is a line from the lab: any number of values, then that it is done or
// what went wrong.
type answer struct {
	Value json.RawMessage `json:"value,omitempty"`
	Done  bool            `json:"done,omitempty"`
	Error string          `json:"error,omitempty"`
}

// conn is a connection that carries lines of JSON, and descriptors. One
// goroutine may read and any may write.
type conn struct {
	unix  *net.UnixConn
	lines *bufio.Reader

	coming sync.Mutex
	files  []*os.File // that have come and were not taken

	writing sync.Mutex
}

func newConn(c *net.UnixConn) *conn {
	k := &conn{unix: c}
	k.lines = bufio.NewReader(receiver{k})
	return k
}

// maxFiles is how many descriptors come with a request: standard input, output
// and error.
const maxFiles = 3

// maxLine bounds a line, in bytes: environments and drawings are long, and
// nothing is longer.
const maxLine = 16 << 20

// receiver reads bytes and puts the descriptors that come with them aside.
type receiver struct{ *conn }

func (r receiver) Read(p []byte) (int, error) {
	control := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, m, flags, _, err := r.unix.ReadMsgUnix(p, control)
	n, m = max(n, 0), max(m, 0) // of an error they are less
	r.coming.Lock()
	defer r.coming.Unlock()
	messages, bad := unix.ParseSocketControlMessage(control[:m])
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			r.files = append(r.files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	switch {
	case err != nil:
		return n, err
	case bad != nil || flags&unix.MSG_CTRUNC != 0 || len(r.files) > maxFiles:
		return 0, errors.New("more descriptors came than were asked for")
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// read reads a line into v.
func (c *conn) read(v any) error {
	var line []byte
	for {
		part, err := c.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return json.Unmarshal(line, v)
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		case len(line) > maxLine:
			return fmt.Errorf("a line of more than %d bytes", maxLine)
		}
	}
}

// take gives the descriptors that have come. They are the caller's to close.
func (c *conn) take() []*os.File {
	c.coming.Lock()
	defer c.coming.Unlock()
	files := c.files
	c.files = nil
	return files
}

// write sends v as a line, and descriptors with it.
func (c *conn) write(v any, files ...*os.File) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	c.writing.Lock()
	defer c.writing.Unlock()
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		n, _, err := c.unix.WriteMsgUnix(line, unix.UnixRights(fds...), nil)
		if err != nil {
			return err
		}
		line = line[n:]
	}
	if len(line) == 0 {
		return nil
	}
	_, err = c.unix.Write(line)
	return err
}

// value answers with a value.
func (c *conn) value(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.write(answer{Value: data})
}

// patience bounds how long the last words to a client may take.
const patience = 2 * time.Second

// finish says how a call ended, and closes the connection.
func (c *conn) finish(err error) {
	_ = c.unix.SetWriteDeadline(time.Now().Add(patience))
	last := answer{Done: true}
	if err != nil {
		last = answer{Error: err.Error()}
	}
	_ = c.write(last)
	c.close()
}

func (c *conn) close() {
	for _, f := range c.take() {
		_ = f.Close()
	}
	_ = c.unix.Close()
}

// peer tells who is at the other end, by the kernel.
func (c *conn) peer() (*unix.Ucred, error) {
	raw, err := c.unix.SyscallConn()
	if err != nil {
		return nil, err
	}
	var who *unix.Ucred
	var failure error
	if err := raw.Control(func(fd uintptr) {
		who, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return who, failure
}

// trust refuses a peer that is neither this user nor root.
func (c *conn) trust() error {
	who, err := c.peer()
	if err != nil {
		return fmt.Errorf("ask who is at the other end: %w", err)
	}
	if int(who.Uid) != os.Geteuid() && who.Uid != 0 {
		return fmt.Errorf("process %d of user %d is at the other end, who is neither this user nor root", who.Pid, who.Uid)
	}
	return nil
}
