//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// answer makes an acknowledgement with the kernel's own words, if any.
func answer(seq uint32, errno unix.Errno, words string) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+4+unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[16:], uint32(-int32(errno)))
	if words != "" {
		binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_ACK_TLVS)
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(words)+1))
		b = binary.NativeEndian.AppendUint16(b, unix.NLMSGERR_ATTR_MSG)
		b = append(append(b, words...), 0)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestAcknowledgements(t *testing.T) {
	messages := []message{{what: "first"}, {what: "second", missing: true}, {what: "third"}}
	for name, tt := range map[string]struct {
		data []byte
		says string // the failure; "" if there is none
		is   error
		last bool
	}{
		"nothing":                        {nil, "", nil, false},
		"all is well":                    {answer(3, 0, ""), "", nil, true},
		"a failure under way":            {answer(1, unix.EEXIST, ""), "first: file exists", unix.EEXIST, false},
		"the kernel's own words":         {answer(3, unix.EINVAL, "Invalid prefix"), "third: invalid argument (Invalid prefix)", unix.EINVAL, true},
		"the first of two failures":      {join(answer(1, unix.EEXIST, "x"), answer(3, unix.EINVAL, "")), "first: file exists (x)", unix.EEXIST, true},
		"removing what is not there":     {join(answer(2, unix.ESRCH, ""), answer(3, 0, "")), "", nil, true},
		"a removal that fails otherwise": {answer(2, unix.EBUSY, ""), "second: device or resource busy", unix.EBUSY, false},
		"an answer to somebody else":     {answer(9, unix.EINVAL, ""), "", nil, false},
		"privileges that are missing":    {answer(1, unix.EPERM, ""), "first: operation not permitted (run as root, or call kernel.Enter first to run in a user namespace; `natlab doctor` says what is missing)", unix.EPERM, false},
	} {
		failure, last, err := acknowledged(tt.data, messages, 0)
		if err != nil || last != tt.last || !errors.Is(failure, tt.is) || (failure != nil) != (tt.says != "") || failure != nil && failure.Error() != tt.says {
			t.Errorf("%s: %v, last %v, %v; want %q, last %v", name, failure, last, err, tt.says, tt.last)
		}
	}
	if failure, last, err := acknowledged(answer(3, unix.EINVAL, ""), messages, 3); failure != nil || last || err != nil {
		t.Errorf("an answer to an earlier batch was taken for one to this: %v", failure)
	}
	if _, _, err := acknowledged([]byte(strings.Repeat("\xff", 40)), messages, 0); err == nil {
		t.Error("a message longer than the datagram was taken")
	}
}

func FuzzAcknowledgements(f *testing.F) {
	f.Add(answer(1, unix.EINVAL, "Invalid prefix"))
	f.Add(join(answer(1, unix.EEXIST, ""), answer(2, 0, "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Nothing to compare with: it must not panic, nor run on.
		_, _, _ = acknowledged(data, []message{{what: "first"}, {what: "second"}}, 0)
	})
}

// A batch goes on after a failure and names what failed.
func TestABatchNamesWhatFailed(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	n, err := newNode("n", always(hostSettings))
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	nobody := &iface{index: 99, name: "ghost"}
	var b batch
	b.address(nobody, netip.MustParseAddr("192.0.2.1"), true)
	for range 1000 { // more than one send holds
		b.address(nobody, netip.MustParseAddr("192.0.2.2"), false) // content that it is missing
	}
	err = n.do(&b)
	if !errors.Is(err, unix.ENODEV) || !strings.HasPrefix(err.Error(), "node n: add address 192.0.2.1 to ghost: ") {
		t.Errorf("error %v, want that node n has no interface ghost to add the address to", err)
	}
}
