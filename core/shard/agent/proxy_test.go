package agent

import (
	"bytes"
	"testing"
)

// FuzzProxyHeader: whatever comes first by a balancer's connection, no more is
// read than the header says, and no more than a header may have.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x9c\x40\x01\xbbrest"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"))
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		ip, err := readProxyHeader(r)
		if read := len(data) - r.Len(); read > 16+maxProxyHeader {
			t.Errorf("read %d bytes", read)
		}
		if err != nil && ip.IsValid() {
			t.Errorf("%v with %v", ip, err)
		}
	})
}
