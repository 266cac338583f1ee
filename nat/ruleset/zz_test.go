package ruleset_test
import ("testing";"time";"fmt";"github.com/google/nftables"; "p2pmodel/nat";"p2pmodel/nat/ruleset")
func TestZZ(t *testing.T) {
	n := newNetwork(t, 0)
	for i:=0;i<5;i++ { n := newNetwork(t, 0)
		a:=time.Now()
		must(t, ruleset.Install(n.conn, n.config(nat.Behavior{},1)))
		fmt.Println("install", time.Since(a))
	}
	for i:=0;i<3;i++ {
		a:=time.Now()
		c,_ := nftables.New(nftables.WithNetNSFd(n.router.ns))
		c.AddTable(&nftables.Table{Name:"x",Family:2})
		must(t, c.Flush())
		fmt.Println("table", time.Since(a))
	}
	for i:=0;i<3;i++ {
		a:=time.Now()
		must(t, ruleset.Remove(n.conn))
		fmt.Println("remove", time.Since(a))
	}
}
