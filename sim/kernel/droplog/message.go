//go:build linux

package droplog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim/witness"
)

// Messages and attributes of nfnetlink_log (linux/netfilter/nfnetlink_log.h).
const (
	messagePacket = unix.NFNL_SUBSYS_ULOG << 8
	messageConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1

	configCommand   = 1
	configMode      = 2
	configTimeout   = 4 // in 1/100 s
	configThreshold = 5

	commandBind   = 1
	commandUnbind = 2
	copyPacket    = 2

	attributeTimestamp = 3
	attributeIn        = 4
	attributeOut       = 5
	attributePayload   = 9
	attributePrefix    = 10
)

const (
	netlinkHeader   = 16
	netfilterHeader = 4
	ethernetHeader  = 14
	// copied is how much of a packet the kernel hands over, in bytes.
	copied = 256
	// flushAfter is how long messages wait in the kernel for others to go with
	// them, in 1/100 s, and flushAt how many wait at most.
	flushAfter, flushAt = 2, 16
)

// bind makes the requests that a socket needs to hear of the group, when so many
// packets wait to be told.
func bind(group uint16, threshold uint32) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(configCommand, []byte{commandBind})
	mode := binary.BigEndian.AppendUint32(nil, copied)
	ae.Bytes(configMode, append(mode, copyPacket, 0))
	ae.Bytes(configTimeout, binary.BigEndian.AppendUint32(nil, flushAfter))
	ae.Bytes(configThreshold, binary.BigEndian.AppendUint32(nil, threshold))
	return request(group, unix.NLM_F_ACK, ae)
}

// unbind makes the request after which a socket hears of the group no more. The
// kernel hands over what waits. It is answered if it fails only.
func unbind(group uint16) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(configCommand, []byte{commandUnbind})
	return request(group, 0, ae)
}

func request(group, flags uint16, ae *netlink.AttributeEncoder) ([]byte, error) {
	payload, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode a request to the netfilter log: %w", err)
	}
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, uint32(netlinkHeader+netfilterHeader+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, messageConfig)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, 1)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, group)
	return append(b, payload...), nil
}

// answer reads the kernel's answer to bind.
func answer(b []byte) error {
	if len(b) < netlinkHeader+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return errors.New("the netfilter log gave an answer that is none")
	}
	if code := unix.Errno(-int32(binary.NativeEndian.Uint32(b[netlinkHeader:]))); code != 0 {
		return code
	}
	return nil
}

// Decode reads the packets of what one receive call gave. Messages that are none
// of a rule that drops are left out.
func Decode(b []byte, now time.Time, take func(Message)) {
	for len(b) >= netlinkHeader {
		length := int(binary.NativeEndian.Uint32(b))
		if length < netlinkHeader || length > len(b) {
			return
		}
		if binary.NativeEndian.Uint16(b[4:]) == messagePacket && length > netlinkHeader+netfilterHeader {
			if d, ok := decodePacket(b[netlinkHeader+netfilterHeader:length], now); ok {
				take(d)
			}
		}
		b = b[min((length+3)&^3, len(b)):]
	}
}

// Message is a packet that a rule dropped.
type Message struct {
	witness.Drop
	// In is the index of the interface that it came by, or else of the one that it was
	// to leave by; 0: the kernel did not say.
	In int
}

func decodePacket(b []byte, now time.Time) (Message, bool) {
	d := Message{Drop: witness.Drop{At: now}}
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return d, false
	}
	var data []byte
	ours := false
	for ad.Next() {
		switch value := ad.Bytes(); ad.Type() {
		case attributeTimestamp:
			if len(value) == 16 {
				sec, usec := binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])
				d.At = time.Unix(int64(sec), int64(usec)*1000)
			}
		case attributeIn, attributeOut:
			if len(value) == 4 && d.In == 0 {
				d.In = int(binary.BigEndian.Uint32(value))
			}
		case attributePrefix:
			var cause ruleset.Cause
			if cause, d.Rule, ours = ruleset.ParseDrop(string(value)); ours {
				d.Cause = witness.Cause(cause)
			}
		case attributePayload:
			data = value
		}
	}
	if ad.Err() != nil || !ours || len(data) == 0 {
		return d, false
	}
	// In an egress hook the packet begins with its Ethernet header.
	if len(data) > ethernetHeader && data[0]>>4 != 4 && binary.BigEndian.Uint16(data[12:]) == unix.ETH_P_IP {
		data = data[ethernetHeader:]
	}
	d.SetData(append([]byte(nil), data...))
	return d, true
}
