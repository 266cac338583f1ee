package pcapng_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"p2pmodel/sim/witness"
	"p2pmodel/sim/witness/pcapng"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 123456789, time.UTC)

// packetOf parses a UDP packet from 10.0.0.2:5000 to 198.18.2.1:6000 that holds
// "hello".
func packetOf(tb testing.TB, at time.Duration, node, intf string, direction witness.Direction) witness.Packet {
	tb.Helper()
	data := []byte{0x45, 0, 0, 33, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 198, 18, 2, 1, 0x13, 0x88, 0x17, 0x70, 0, 13, 0, 0, 'h', 'e', 'l', 'l', 'o'}
	witness.FinishChecksum(data)
	p, err := witness.Parse(start.Add(at), witness.Point{Node: node, Interface: intf}, direction, data)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func capture(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	packets := []witness.Packet{
		packetOf(tb, 2*time.Microsecond, "nat-a", "uplink", witness.Out),
		packetOf(tb, 0, "a", "uplink", witness.Out),
		packetOf(tb, time.Nanosecond, "nat-a", "to a", witness.In),
	}
	if err := pcapng.Write(&b, packets, []witness.Point{{Node: "b", Interface: "uplink"}, {Node: "a", Interface: "uplink"}}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteIsReadBack(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(capture(t)), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		name string
		at   time.Duration
	}{{"a:uplink", 0}, {"nat-a:to a", time.Nanosecond}, {"nat-a:uplink", 2 * time.Microsecond}} {
		data, info, err := r.ReadPacketData()
		if err != nil {
			t.Fatal(err)
		}
		intf, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		if intf.Name != want.name || intf.LinkType != layers.LinkTypeRaw {
			t.Errorf("packet %d is of interface %q, link type %v; want %q, raw", i, intf.Name, intf.LinkType, want.name)
		}
		if !info.Timestamp.Equal(start.Add(want.at)) {
			t.Errorf("packet %d is of %v, want %v", i, info.Timestamp, start.Add(want.at))
		}
		if !strings.HasSuffix(string(data), "hello") {
			t.Errorf("packet %d: % x", i, data)
		}
	}
	// The point at which nothing was seen is there too.
	if r.NInterfaces() != 4 {
		t.Errorf("%d interfaces, want 4", r.NInterfaces())
	}
}

func TestWriteWithoutPointsSaysSo(t *testing.T) {
	if err := pcapng.Write(&bytes.Buffer{}, nil, nil); err == nil {
		t.Error("a file without interfaces was written")
	}
}

// TestTsharkReadsIt lets a reader judge that we did not write.
func TestTsharkReadsIt(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed; the file is read back by our own library only")
	}
	file := filepath.Join(t.TempDir(), "lab.pcapng")
	if err := os.WriteFile(file, capture(t), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tshark, "-r", file, "-T", "fields", "-E", "separator=,", "-o", "udp.check_checksum:TRUE",
		"-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "ip.src", "-e", "udp.dstport", "-e", "udp.checksum.status", "-e", "frame.protocols").Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"a:uplink", "0x00000002", "10.0.0.2", "6000", "1", "raw:ip:udp:data"},
		{"nat-a:to a", "0x00000001", "10.0.0.2", "6000", "1", "raw:ip:udp:data"},
		{"nat-a:uplink", "0x00000002", "10.0.0.2", "6000", "1", "raw:ip:udp:data"},
	}
	if !reflect.DeepEqual(got, want) {
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		t.Errorf("tshark reads\n%s\nwant\n%s", g, w)
	}
}
