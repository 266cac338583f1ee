//go:build linux

package ruleset

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dumpedRule is a rule as the kernel has it.
type dumpedRule struct {
	chain   string
	comment string
	exprs   []dumpedExpr
}

// dumpedExpr is an expression of a rule. The library cannot read all that it can
// write: where it could not, expr is nil.
type dumpedExpr struct {
	name string
	data []byte
	expr expr.Any
}

// dumpRules reads all rules of a table, in order. The library's own reader fails
// as a whole at the first byteorder expression.
func dumpRules(conn *nftables.Conn, table *nftables.Table) ([]dumpedRule, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: conn.NetNS})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	name, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(table.Name + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	messages, err := c.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE),
			Flags: netlink.Request | netlink.Dump,
		},
		Data: append([]byte{byte(table.Family), unix.NFNETLINK_V0, 0, 0}, name...),
	})
	if err != nil {
		return nil, err
	}
	var rules []dumpedRule
	for _, m := range messages {
		r, err := decodeRule(byte(table.Family), m.Data)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", len(rules)+1, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// decodeRule reads the message of one rule.
func decodeRule(family byte, message []byte) (dumpedRule, error) {
	var r dumpedRule
	if len(message) < 4 {
		return r, fmt.Errorf("message of %d bytes, want 4 at least", len(message))
	}
	ad, err := netlink.NewAttributeDecoder(message[4:])
	if err != nil {
		return r, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_CHAIN:
			r.chain = ad.String()
		case unix.NFTA_RULE_USERDATA:
			r.comment = comment(ad.Bytes())
		case unix.NFTA_RULE_EXPRESSIONS:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(one *netlink.AttributeDecoder) error {
						r.exprs = append(r.exprs, decodeExpr(family, one))
						return nil
					})
				}
				return nil
			})
		}
	}
	return r, ad.Err()
}

// comment finds the comment in a rule's user data: items of type, length, value.
func comment(data []byte) string {
	for len(data) >= 2 {
		end := 2 + int(data[1])
		if end > len(data) {
			break
		}
		if userdata.Type(data[0]) == userdata.TypeComment {
			return strings.TrimRight(string(data[2:end]), "\x00")
		}
		data = data[end:]
	}
	return ""
}

func decodeExpr(family byte, ad *netlink.AttributeDecoder) dumpedExpr {
	var d dumpedExpr
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			d.name = ad.String()
		case unix.NFTA_EXPR_DATA:
			d.data = ad.Bytes()
		}
	}
	var e expr.Any
	switch d.name {
	case "payload":
		e = &expr.Payload{}
	case "meta":
		e = &expr.Meta{}
	case "ct":
		e = &expr.Ct{}
	case "cmp":
		e = &expr.Cmp{}
	case "lookup":
		e = &expr.Lookup{}
	case "dynset":
		e = &expr.Dynset{}
	case "numgen":
		e = &expr.Numgen{}
	case "bitwise":
		if s, ok := unmarshalShift(d.data); ok {
			d.expr = s
			return d
		}
		e = &expr.Bitwise{}
	case "hash":
		e = &expr.Hash{}
	case "connlimit":
		e = &expr.Connlimit{}
	case "masq":
		e = &expr.Masq{}
	case "counter":
		e = &expr.Counter{}
	case "log":
		e = &expr.Log{}
	case "reject":
		e = &expr.Reject{}
	case "fib":
		e = &expr.Fib{}
	case "immediate":
		// A verdict is an immediate whose register is not one of data.
		v := &expr.Immediate{}
		if e = v; expr.Unmarshal(family, d.data, v) == nil && v.Register == unix.NFT_REG_VERDICT {
			e = &expr.Verdict{}
		}
	default:
		return d
	}
	if expr.Unmarshal(family, d.data, e) == nil {
		d.expr = e
	}
	return d
}
