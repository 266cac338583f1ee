//go:build linux

package kernel_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// A lab in a test of one's own. TestMain has to call kernel.Init first, and
// kernel.Enter where it is not run by root.
func ExampleFabric() {
	ctx := context.Background()
	lab, err := sim.ParseLab("lab.yaml", []byte(`
lab:
  routers: {home: {nat: symmetric}}
  hosts: {player: {behind: home}, server: {}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	network, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = network.Close() }() // nothing is left then
	player, _ := network.Host("player")
	server, _ := network.Host("server")

	inside, err := player.ListenPacket(ctx, "udp4", ":0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = inside.Close() }()
	outside, err := server.ListenPacket(ctx, "udp4", ":7777")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = outside.Close() }()

	address := network.Plan().Addresses("server", sim.DefaultUplink)[0]
	_, err = inside.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 7777)))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, from, err := outside.ReadFrom(make([]byte, 64))
	fmt.Println("the server sees", from, err)
	// Output:
	// the server sees 198.18.0.2:1024 <nil>
}

// Any program runs on a host, as any user, with the lab's addresses in its
// environment.
func ExampleHost_Start() {
	ctx := context.Background()
	lab, err := sim.ParseLab("lab.yaml", []byte("lab:\n  hosts: {a: {}, b: {}}\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	network, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = network.Close() }()
	host, _ := network.Host("a")
	var out bytes.Buffer
	program, err := host.Start(ctx, sim.Program{
		Path: "sh", Args: []string{"-c", "echo $LAB_ADDR_B is the other one"},
		Env: sim.Environ(lab, network.Plan()), Stdout: &out,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := program.Wait(); err != nil {
		fmt.Println(err)
	}
	fmt.Print(out.String())
	// Output:
	// 198.18.0.3 is the other one
}
