package turn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/pion/stun/v3"
)

// Client has one allocation.
type Client struct {
	Conn               net.Conn // a UDP socket, connected to the server
	Username, Password string
	Relayed            netip.AddrPort

	realm, nonce string
}

// Pauses until a request is repeated.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 6400 * time.Millisecond
)

// udp is REQUESTED-TRANSPORT's value.
var udp = []byte{17, 0, 0, 0}

// ErrRefused is that the server answered with an error.
var ErrRefused = errors.New("refused")

// Allocate asks for a relayed address.
func (c *Client) Allocate() error {
	// A server that sends strangers no more than came from them answers at once.
	padding := stun.NewSoftware(string(make([]byte, 120)))
	m, err := c.ask(stun.MethodAllocate, padding, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: udp})
	if err != nil {
		return err
	}
	if m.Type.Class == stun.ClassErrorResponse {
		var realm stun.Realm
		var nonce stun.Nonce
		if errors.Join(realm.GetFrom(m), nonce.GetFrom(m)) != nil {
			return fmt.Errorf("allocate: %w: %s", ErrRefused, reason(m))
		}
		c.realm, c.nonce = realm.String(), nonce.String()
		if m, err = c.request(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: udp}); err != nil {
			return err
		}
	}
	var a stun.XORMappedAddress
	if err := a.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	c.Relayed = netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
	return nil
}

// Bind binds a channel to a peer.
func (c *Client) Bind(number uint16, peer netip.AddrPort) error {
	_, err := c.request(stun.MethodChannelBind,
		stun.RawAttribute{Type: stun.AttrChannelNumber, Value: append(binary.BigEndian.AppendUint16(nil, number), 0, 0)},
		peerAddress(peer))
	return err
}

// Release gives the allocation back.
func (c *Client) Release() error {
	_, err := c.request(stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)})
	return err
}

type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// request asks with credentials, once more if the nonce has become stale.
func (c *Client) request(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	for try := 0; ; try++ {
		all := append(attributes[:len(attributes):len(attributes)],
			stun.NewUsername(c.Username), stun.NewRealm(c.realm), stun.NewNonce(c.nonce),
			stun.NewLongTermIntegrity(c.Username, c.realm, c.Password))
		m, err := c.ask(method, all...)
		if err != nil || m.Type.Class == stun.ClassSuccessResponse {
			return m, err
		}
		var code stun.ErrorCodeAttribute
		var nonce stun.Nonce
		if code.GetFrom(m) != nil || code.Code != stun.CodeStaleNonce || nonce.GetFrom(m) != nil || try > 0 {
			return nil, fmt.Errorf("%s: %w: %s", method, ErrRefused, reason(m))
		}
		c.nonce = nonce.String()
	}
}

func reason(m *stun.Message) string {
	var code stun.ErrorCodeAttribute
	if err := code.GetFrom(m); err != nil {
		return m.Type.String()
	}
	return code.String()
}

// ask sends a request until its answer is there.
func (c *Client) ask(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)...)
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, 2048)
	for pause := firstPause; pause <= lastPause; pause *= 2 {
		// A server that has not begun yet refuses: that is as good as silence.
		_, err := c.Conn.Write(m.Raw)
		deadline := time.Now().Add(pause)
		if err != nil {
			time.Sleep(pause)
			continue
		}
		for {
			if err := c.Conn.SetReadDeadline(deadline); err != nil {
				return nil, err
			}
			n, err := c.Conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				time.Sleep(time.Until(deadline))
				break
			}
			answer := &stun.Message{Raw: append([]byte(nil), buffer[:n]...)}
			if answer.Decode() == nil && answer.TransactionID == m.TransactionID {
				return answer, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: no answer from %s", method, c.Conn.RemoteAddr())
}
