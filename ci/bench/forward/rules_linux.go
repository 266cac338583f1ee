package forward

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Ports of a forwarder with one socket for all clients: of the socket, and the range of
// which each client has one.
const (
	SocketPort = 9999
	FirstPort  = 10000
	LastPort   = 65535
)

// PortMark is the mark that stands for a port: its two bytes are the mark's first ones in
// memory, so that rules need not turn them around.
func PortMark(port uint16) uint32 {
	return binary.NativeEndian.Uint32([]byte{byte(port >> 8), byte(port), 0, 0})
}

// rules' names and the place of UDP's fields.
const (
	table                   = "one-socket"
	sourcePort, destination = 0, 2 // offsets in UDP's header
	checksum                = 6
)

// Rules have one socket stand for a range of ports, in this thread's network namespace
// until remove is called, without connection tracking: what SocketPort sends with a mark
// leaves from the port of the mark, and what comes for a port of the range comes to
// SocketPort with that port's mark.
func Rules() (remove func() error, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv4})
	in := c.AddChain(&nftables.Chain{Name: "in", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
	out := c.AddChain(&nftables.Chain{Name: "out", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw})
	udp := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}
	socket := binaryutil.BigEndian.PutUint16(SocketPort)
	c.AddRule(&nftables.Rule{Table: t, Chain: in, Exprs: append(udp[:2:2],
		load(destination),
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: binaryutil.BigEndian.PutUint16(FirstPort), ToData: binaryutil.BigEndian.PutUint16(LastPort)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		&expr.Immediate{Register: 1, Data: socket},
		write(destination),
	)})
	c.AddRule(&nftables.Rule{Table: t, Chain: out, Exprs: append(udp[:2:2],
		load(sourcePort),
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: socket},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0, 0, 0}},
		write(sourcePort),
	)})
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("rules of one socket for many ports: %w", err)
	}
	return func() error {
		c.DelTable(t)
		if err := c.Flush(); err != nil {
			return fmt.Errorf("remove the rules of one socket for many ports: %w", err)
		}
		return nil
	}, nil
}

// load and write are of a port, in register 1.
func load(offset uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
}

func write(offset uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2,
		CsumType: expr.CsumTypeInet, CsumOffset: checksum}
}
