package peer_test

import (
	"context"
	"fmt"
	"log"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/peer"
)

// Two peers find each other through a rendezvous and exchange a datagram. The
// servers run in the same process here, over the loopback interface.
func Example() {
	ctx := context.Background()
	servers, err := startServers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer servers.stop()

	// peer.New(ctx, peer.Config{Key: …, Rendezvous: …, Relay: …, Rand: rand.Reader}, sansio.System())
	alice, err := servers.start(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()
	bob, err := servers.start(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()

	go func() {
		conn, err := alice.Dial(ctx, bob.ID())
		if err != nil {
			log.Fatal(err)
		}
		if err := conn.Send([]byte("hello, Bob")); err != nil {
			log.Fatal(err)
		}
	}()

	conn, err := bob.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	datagram, err := conn.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s (from Alice: %v)\n", datagram, conn.Peer() == alice.ID())
	// Output: hello, Bob (from Alice: true)
}

// A room is a full mesh: every member has a connection to every other.
func ExamplePeer_Join() {
	ctx := context.Background()
	servers, err := startServers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer servers.stop()

	var players []*peer.Peer
	for range 3 {
		p, err := servers.start(ctx, nil)
		if err != nil {
			log.Fatal(err)
		}
		defer p.Close()
		players = append(players, p)
	}
	connected := make(chan int)
	for _, p := range players {
		room, err := p.Join(ctx, "arena")
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			for range len(players) - 1 {
				if _, err := room.Next(ctx); err != nil {
					log.Fatal(err)
				}
			}
			connected <- len(room.Conns())
		}()
	}
	for range players {
		fmt.Println("a player is connected with", <-connected)
	}
	// Output:
	// a player is connected with 2
	// a player is connected with 2
	// a player is connected with 2
}

// A chat over a mesh: each line goes to every other member, directly where the NATs
// permit it, encrypted in any case. Nobody's server sees it.
func ExampleRoom_chat() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	servers, err := startServers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer servers.stop()

	// chat joins a room as somebody, says a line to each member who comes, and gives
	// the lines of the others.
	chat := func(name string, others int) ([]string, error) {
		p, err := servers.start(ctx, nil)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		room, err := p.Join(ctx, "tavern")
		if err != nil {
			return nil, err
		}
		heard := make(chan string, others)
		for range others {
			conn, err := room.Next(ctx)
			if err != nil {
				return nil, err
			}
			if err := conn.Send([]byte(name + ": hello")); err != nil {
				return nil, err
			}
			go func() {
				line, err := conn.Receive(ctx)
				if err != nil {
					line = []byte(err.Error())
				}
				heard <- string(line)
			}()
		}
		var lines []string
		for range others {
			lines = append(lines, <-heard)
		}
		slices.Sort(lines)
		return lines, nil
	}

	names := []string{"Ann", "Bob", "Cid"}
	heard := make([][]string, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			lines, err := chat(name, len(names)-1)
			if err != nil {
				log.Fatal(err)
			}
			heard[i] = lines
		})
	}
	all.Wait()
	for i, name := range names {
		fmt.Printf("%s hears %q\n", name, heard[i])
	}
	// Output:
	// Ann hears ["Bob: hello" "Cid: hello"]
	// Bob hears ["Ann: hello" "Cid: hello"]
	// Cid hears ["Ann: hello" "Bob: hello"]
}
