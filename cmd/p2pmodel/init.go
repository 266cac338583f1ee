package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// initFlags are the command line of p2pmodel init.
type initFlags struct {
	engines, directories int
	shards, agents       []string
	operators, hosts     []string
	cluster              string
	installDir, storeDir string
	agentPort            int
	allowPeers           []string
}

func newInitCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make the files of a layout: keys, certificates, configurations",
		Long: `Make all files of a layout of several processes, on one machine or on many: a
folder for each process, with its configuration and exactly the secrets that it
needs. Copy each folder to its machine, to where --install-dir says, and start the
process with what is printed. What is in offline stays at home.

Run it again with more --shards, --agents, or new --hosts to add some: keys stay
as they are, certificates are made anew when a third of their life is left.
Configurations are written anew; put your own changes on the command line or into
the environment of the process.

Processes are named engine-1, directory-0, shard-NAME, agent-NAME; --host says
where each is: its address, and further names that it has. All are on 127.0.0.1 if
nothing is said. A shard runs its UDP servers itself, unless --host names
rendezvous-NAME or relay-NAME, which are then processes of their own.`,
		Example: `  p2pmodel init layout
  p2pmodel init layout --shards a,b --agents 1,2 --engines 3 --directories 3 \
      --host engine-1=10.0.0.1 --host engine-2=10.0.0.2 --host engine-3=10.0.0.3 \
      --host directory-0=10.0.0.1 --host directory-1=10.0.0.2 --host directory-2=10.0.0.3 \
      --host shard-a=198.51.100.1 --host shard-b=198.51.100.2 \
      --host agent-1=198.51.100.11,play.example.org --host agent-2=198.51.100.12,play.example.org \
      --install-dir /etc/p2pmodel --store-dir /var/lib/p2pmodel`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usage("want one DIR; see %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			plan, err := f.plan(dir)
			if err != nil {
				return err
			}
			have, err := readLayout(dir)
			if err != nil {
				return usage("%w", err)
			}
			files, err := plan.files(have, time.Now())
			if err != nil {
				return usage("%w", err)
			}
			if err := writeLayout(dir, files); err != nil {
				return err
			}
			return plan.tell(cmd.OutOrStdout(), dir)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.engines, "engines", 1, "how many `engines`: 1, 3 or 5")
	flags.IntVar(&f.directories, "directories", 1, "how many `directories`: 1, 3 or 5")
	flags.StringSliceVar(&f.shards, "shards", []string{"1"}, "how many `shards`, or their names: 2, or a,b")
	flags.StringSliceVar(&f.agents, "agents", []string{"1"}, "how many `agents`, or their names")
	flags.StringSliceVar(&f.operators, "operators", []string{defaultOperator}, "`names` of those who may drain and list shards")
	flags.StringArrayVar(&f.hosts, "host", nil, "`PROCESS=ADDRESS[,NAME…]`: where a process is; may be repeated")
	flags.StringVar(&f.cluster, "cluster", "p2pmodel", "`NAME` of the whole")
	flags.StringVar(&f.installDir, "install-dir", "", "`folder` below which the processes' folders are on their machines (default: DIR)")
	flags.StringVar(&f.storeDir, "store-dir", "", "`folder` below which engines keep their data (default: store in the engine's own folder)")
	flags.IntVar(&f.agentPort, "agent-port", 8443, "TCP `port` of Agents")
	flags.StringSliceVar(&f.allowPeers, "allow-peer", nil, "`prefix` of peers that relays relay to although they are not public (default: loopback, for those on it); may be repeated")
	return cmd
}

// names reads a number, of names 1 and so on, or names.
func names(flag string, values []string) ([]string, error) {
	if len(values) != 1 {
		return values, nil
	}
	n, err := strconv.Atoi(values[0])
	if err != nil {
		return values, nil
	}
	if n < 1 || n > 1000 {
		return nil, usage("--%s %d: want 1 to 1000, or names", flag, n)
	}
	var all []string
	for i := range n {
		all = append(all, strconv.Itoa(i+1))
	}
	return all, nil
}

// plan decides where everything is.
func (f *initFlags) plan(dir string) (*initPlan, error) {
	if f.agentPort < 1 || f.agentPort > 65535 {
		return nil, usage("--agent-port %d: want 1 to 65535", f.agentPort)
	}
	p := &initPlan{flags: f, install: f.installDir, taken: map[string]bool{}, hosts: map[string][]string{}, used: map[string]bool{}}
	if p.install == "" {
		p.install = dir
	}
	if !filepath.IsAbs(p.install) || f.storeDir != "" && !filepath.IsAbs(f.storeDir) {
		return nil, usage("--install-dir and --store-dir have to begin with /")
	}
	for _, text := range f.hosts {
		process, list, ok := strings.Cut(text, "=")
		addresses := strings.Split(list, ",")
		if !ok || process == "" || slices.Contains(addresses, "") {
			return nil, usage("--host %q: want PROCESS=ADDRESS, as in engine-1=10.0.0.1", text)
		}
		p.hosts[process] = append(p.hosts[process], addresses...)
	}
	if _, err := parsePrefixes("--allow-peer", f.allowPeers); err != nil {
		return nil, err
	}
	var err error
	if p.shards, err = names("shards", f.shards); err != nil {
		return nil, err
	}
	if p.agents, err = names("agents", f.agents); err != nil {
		return nil, err
	}
	if err := p.place(); err != nil {
		return nil, err
	}
	for process := range p.hosts {
		if !p.used[process] {
			return nil, usage("--host %s: there is no such process in the layout; there are %s", process, strings.Join(p.processes(), ", "))
		}
	}
	return p, nil
}

// tell says what to do with the files.
func (p *initPlan) tell(w io.Writer, dir string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "made\ton\tstart\n")
	for _, process := range p.processes() {
		command, _, _ := strings.Cut(process, "-")
		start := fmt.Sprintf("p2pmodel %s --config %s", command, filepath.Join(p.install, process, command+".yaml"))
		if command == "operator" {
			start = fmt.Sprintf("p2pmodel shards --config %s", filepath.Join(p.install, process, "operator.yaml"))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", filepath.Join(dir, process), strings.Join(p.at[process], " "), start)
	}
	fmt.Fprintf(t, "%s\t%s\t%s\n", filepath.Join(dir, "clients-ca.crt"), "players", "what their clients trust")
	fmt.Fprintf(t, "%s\t%s\t%s\n", filepath.Join(dir, "offline"), "nowhere", "the authorities' keys, and the key that signs login tokens: keep it safe")
	return t.Flush()
}

// writeLayout writes the files below a folder, secrets for their owner only.
func writeLayout(dir string, files layoutFiles) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usage("%w", err)
	}
	for _, name := range files.names() {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if files[name].Secret {
			mode = 0o600
		}
		if err := replaceFile(file, files[name].Data, mode); err != nil {
			return err
		}
	}
	return nil
}
