package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/login"
)

func newAccountCommand() *cobra.Command {
	var file string
	var rating int32
	cmd := &cobra.Command{
		Use:   "account --accounts-file FILE NAME",
		Short: "Write a name and a password into a file of accounts",
		Long: `Write a name and the hash of a password into a file of accounts, which Agents
read (--accounts-file) and read again when it changes. The password is a line of
standard input; a terminal does not show it. Who is in the file already gets the
new password and rating; all else in the file stays as it is.`,
		Example: "  p2pmodel account --accounts-file accounts.yaml --rating 1500 ann",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("want one NAME; see %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			switch {
			case file == "":
				return usage("--accounts-file FILE is required")
			case rating < 0 || rating > login.MaxRating:
				return usage("--rating %d: want 0 to %d", rating, login.MaxRating)
			case limits.CheckPlayer("name", name) != nil:
				return usage("%q: want a name of 1 to %d characters", name, limits.MaxPlayer)
			}
			password, err := askPassword(cmd)
			if err != nil {
				return err
			}
			before, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return usage("--accounts-file: %w", err)
			}
			after := withAccount(string(before), name, login.HashPassword(password), rating)
			if _, err := login.NewAccounts(login.AccountsConfig{}, file, []byte(after)); err != nil {
				return usage("--accounts-file: %w", err)
			}
			return replaceFile(file, []byte(after), 0o600)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "accounts-file", "", "YAML `FILE` of accounts; made if missing (required)")
	f.Int32Var(&rating, "rating", openRating, "`RATING` of the player, for matchmaking")
	return cmd
}

// askPassword reads a password from standard input.
func askPassword(cmd *cobra.Command) (string, error) {
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(cmd.ErrOrStderr(), "Password: ")
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", err
		}
		return checkPassword(string(text))
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	return checkPassword(strings.TrimRight(line, "\r\n"))
}

func checkPassword(password string) (string, error) {
	if password == "" {
		return "", usage("standard input has no password: want it as a line")
	}
	return password, nil
}

// withAccount gives a file of accounts with one written anew: the lines from its
// name to the next name are replaced, or it stands at the end.
func withAccount(text, name, hash string, rating int32) string {
	entry := fmt.Sprintf("%s:\n  password: %s\n  rating: %d\n", strconv.Quote(name), hash, rating)
	var out strings.Builder
	found, within := false, false
	for line := range strings.Lines(text) {
		if line[0] != ' ' && line[0] != '\t' && line[0] != '#' && strings.TrimSpace(line) != "" {
			within = isKey(line, name)
			if within && !found {
				out.WriteString(entry)
				found = true
			}
		}
		if !within || line[0] == '#' {
			out.WriteString(line)
		}
	}
	if !found {
		if text != "" && !strings.HasSuffix(text, "\n") {
			out.WriteByte('\n')
		}
		out.WriteString(entry)
	}
	return out.String()
}

// isKey reports whether a line begins the account of that name.
func isKey(line, name string) bool {
	for _, form := range []string{name, strconv.Quote(name), "'" + name + "'"} {
		if rest, ok := strings.CutPrefix(line, form); ok && strings.HasPrefix(strings.TrimLeft(rest, " "), ":") {
			return true
		}
	}
	return false
}
