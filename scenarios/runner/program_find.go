package runner

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"p2pmodel/scenarios"
)

// packages are where Debian and Ubuntu have programs that scenarios run.
var packages = map[string]string{
	"curl": "curl", "dig": "dnsutils", "iperf3": "iperf3", "nc": "netcat-openbsd", "nft": "nftables", "openssl": "openssl", "ping": "iputils-ping",
	"python3": "python3", "socat": "socat", "stun": "stun-client", "tcpdump": "tcpdump", "tshark": "tshark",
	"turnserver": "coturn", "turnutils_peer": "coturn", "turnutils_stunclient": "coturn", "turnutils_uclient": "coturn",
	"turnutils_natdiscovery": "coturn",
}

// made are programs that this project makes.
var made = map[string]string{"pion-ice": "make examples", "p2pmodel": "make build", "natlab": "make build"}

// MissingError says that a program which a scenario runs is not there.
type MissingError struct {
	Scenario, Command string
	Err               error
}

func (e *MissingError) Unwrap() error { return e.Err }

// Remedy is the command that brings the program; "": none is known.
func (e *MissingError) Remedy() string {
	name := filepath.Base(e.Command)
	if by, ours := made[name]; ours {
		return by
	}
	if p := packages[name]; p != "" {
		return "apt-get install " + p
	}
	return ""
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("%s runs %s, which is not installed (%v)", e.Scenario, e.Command, errors.Unwrap(e.Err))
	if remedy := e.Remedy(); remedy != "" {
		text += ": " + remedy
	}
	return text
}

// Missing finds the programs that a scenario runs and that are not there, before
// anything is built: an error made of MissingErrors, or nil. path are folders that
// are looked into before the PATH.
func Missing(sc *scenarios.Scenario, path []string) error {
	var errs []error
	seen := map[string]bool{}
	for _, p := range sc.AllPrograms() {
		for _, command := range append([]string{p.Run[0]}, p.Needs...) {
			if seen[command] || len(scenarios.LabVariables(command)) > 0 {
				continue
			}
			seen[command] = true
			if _, err := findProgram(sc, command, path); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// findProgram finds a command: one with a slash is relative to the scenario's file,
// one without is looked for in folders and the PATH.
func findProgram(sc *scenarios.Scenario, command string, path []string) (string, error) {
	if strings.ContainsRune(command, filepath.Separator) {
		found, err := exec.LookPath(besideFile(sc, command))
		if err != nil {
			return "", &MissingError{sc.ID, command, err}
		}
		return found, nil
	}
	for _, dir := range path {
		if found, err := exec.LookPath(filepath.Join(dir, command)); err == nil {
			return filepath.Abs(found)
		}
	}
	found, err := exec.LookPath(command)
	if err != nil {
		return "", &MissingError{sc.ID, command, err}
	}
	return filepath.Abs(found)
}
