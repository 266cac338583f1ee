package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// The keys of links in files.
var (
	impairmentKeys = []string{
		"delay", "jitter", "jitter-correlation", "distribution", "reorder", "wander", "overtake",
		"loss", "burst", "duplicate", "corrupt", "rate", "trace", "queue", "mtu",
	}
	linkKeys     = append([]string{"profile", "up", "down"}, impairmentKeys...)
	wanderKeys   = []string{"delay", "every"}
	overtakeKeys = []string{"share", "gap", "correlation"}
	burstKeys    = []string{"loss", "length", "p", "r", "bad", "good"}
	mtuKeys      = []string{"size", "icmp"}
)

// maxBurst bounds the mean length of bursts, in packets.
const maxBurst = 1e6

func decodeLink(n *document.Node) Link {
	var k Link
	k.Node, k.Uplink, _ = strings.Cut(n.Name(), "/")
	if n.IsScalar() {
		k.profile(n)
		return k
	}
	k.impairments(n.Map(linkKeys...))
	return k
}

// impairments reads those of both directions.
func (k *Link) impairments(m document.Map) {
	if p := m.Get("profile"); p.Exists() {
		k.profile(p)
	}
	named := *k
	k.Up, k.Down = decodeImpairment(m, k.Up), decodeImpairment(m, k.Down)
	k.Up = decodeImpairment(m.Get("up").Map(impairmentKeys...), k.Up)
	k.Down = decodeImpairment(m.Get("down").Map(impairmentKeys...), k.Down)
	if k.Up != named.Up || k.Down != named.Down {
		k.Profile = ""
	}
}

// profile takes what a profile says.
func (k *Link) profile(n *document.Node) {
	name := n.Word("link profile", link.ProfileNames()...)
	if p, ok := link.ProfileNamed(name); ok {
		k.Up, k.Down, k.Profile = p.Up, p.Down, p.Name
	}
}

// decodeImpairment reads the keys that are there over those of base. What stands
// for the same thing as another key takes its place.
func decodeImpairment(m document.Map, base link.Impairment) link.Impairment {
	if m.Has("burst") && !m.Has("loss") {
		base.Loss = 0
	}
	if m.Has("loss") && !m.Has("burst") {
		base.Burst = link.Burst{}
	}
	if m.Has("trace") && !m.Has("rate") {
		base.Rate = 0
	}
	if m.Has("rate") && !m.Has("trace") {
		base.Trace = link.Trace{}
	}
	for _, v := range m.Entries() {
		switch v.Name() {
		case "delay":
			base.Delay = v.Duration()
		case "jitter":
			base.Jitter = v.Duration()
		case "jitter-correlation":
			base.Correlation = v.Probability()
		case "distribution":
			word := v.Word("distribution", link.Distributions()...)
			base.Distribution = link.Distribution(max(slices.Index(link.Distributions(), word), 0))
		case "reorder":
			base.Reorder = v.Bool()
		case "wander":
			base.Wander = decodeWander(v)
		case "overtake":
			base.Overtake = decodeOvertake(v)
		case "loss":
			base.Loss = v.Probability()
		case "burst":
			base.Burst = decodeBurst(v)
		case "duplicate":
			base.Duplicate = v.Probability()
		case "corrupt":
			base.Corrupt = v.Probability()
		case "rate":
			base.Rate = v.Rate()
		case "trace":
			base.Trace = decodeTrace(v)
		case "queue":
			base.Queue = v.Size()
		case "mtu":
			base.MTU, base.Blackhole = decodeMTU(v)
		}
	}
	return base
}

func decodeWander(n *document.Node) link.Wander {
	m := n.Map(wanderKeys...)
	return link.Wander{Delay: m.Need("delay").Duration(), Every: m.Need("every").Duration()}
}

func decodeOvertake(n *document.Node) link.Overtake {
	if n.IsScalar() {
		return link.Overtake{Share: n.Probability()}
	}
	m := n.Map(overtakeKeys...)
	return link.Overtake{
		Share: m.Need("share").Probability(), Gap: m.Get("gap").Int(1, link.MaxGap),
		Correlation: m.Get("correlation").Probability(),
	}
}

func decodeMTU(n *document.Node) (size int, blackhole bool) {
	if n.IsScalar() {
		return n.Int(link.MinMTU, link.MaxMTU), false
	}
	m := n.Map(mtuKeys...)
	icmp := m.Get("icmp")
	return m.Need("size").Int(link.MinMTU, link.MaxMTU), icmp.Exists() && !icmp.Bool()
}

// decodeBurst takes a burst by what people measure (loss, length), or by the
// model's own parameters (p, r, bad, good).
func decodeBurst(n *document.Node) link.Burst {
	m := n.Map(burstKeys...)
	if !m.Has("loss") && !m.Has("length") {
		b := link.Burst{P: m.Need("p").Probability(), R: m.Need("r").Probability(), Bad: 1, Good: m.Get("good").Probability()}
		if bad := m.Get("bad"); bad.Exists() {
			b.Bad = bad.Probability()
		}
		return b
	}
	for _, v := range m.Entries() {
		if v.Name() != "loss" && v.Name() != "length" && slices.Contains(burstKeys, v.Name()) {
			v.KeyErrorf("burst: %s is one of p, r, bad, good; loss and length say the same in other words, so give one of both", v.Name())
		}
	}
	loss, length := m.Need("loss").Probability(), m.Need("length").Float(1, maxBurst)
	if length == 0 {
		return link.Burst{}
	}
	if v := m.Get("loss"); loss == 0 || loss == 1 {
		v.Errorf("burst: a loss of %s comes in no bursts; it is above 0 and below 1", document.FormatProbability(loss))
		return link.Burst{}
	}
	return link.Bursts(loss, length)
}

// decodeTrace reads a trace's file, whose path is relative to the file of n.
func decodeTrace(n *document.Node) link.Trace {
	name := n.Text()
	if name == "" {
		if n.Kind() == document.Text {
			n.Errorf("trace: want the path of a file in Mahimahi's format")
		}
		return link.Trace{}
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(n.File()), path)
	}
	text, found, sealed := n.Attached(name)
	var err error
	switch {
	case !found && sealed:
		err = fmt.Errorf("%s did not come with this file", name)
	case !found:
		text, err = readTrace(path)
	}
	if err != nil {
		n.Errorf("trace: %v", err)
		return link.Trace{}
	}
	t, err := link.ParseTrace(path, text)
	if err != nil {
		n.Errorf("trace: %v", err)
		return link.Trace{}
	}
	t.File = name
	n.Refer(name, text)
	return t
}

// readTrace reads a regular file of bounded size: a path of a stranger's file may
// be that of a device.
func readTrace(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		var e *os.PathError
		if errors.As(err, &e) {
			if errors.Is(err, fs.ErrNotExist) { // in the same words on every system
				e.Err = errors.New("no such file or directory")
			}
			return nil, fmt.Errorf("%s: %w (a path is relative to the file that names it)", path, e.Err)
		}
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, link.MaxTraceSize+1))
}
