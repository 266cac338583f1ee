package main

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/login"
)

func newTokenCommand() *cobra.Command {
	var keyFile, player, issuer, audience string
	var rating int32
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "token --key-file FILE --player NAME",
		Short: "Make a login token, as an account service does",
		Long: `Make a login token and print it: a JWT, signed with EdDSA, that says who the
player is. It is good once, at any Agent that knows the public key. An account
service would make such tokens; this does it for trying things out, and is the
example.

The key is a PEM block PRIVATE KEY (PKCS #8, Ed25519). p2pmodel init and
p2pmodel all make one; so does: openssl genpkey -algorithm ed25519`,
		Example: "  p2pmodel token --key-file p2pmodel-data/login.key --player ann --rating 1500 > ann.token",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case keyFile == "":
				return usage("--key-file FILE is required")
			case life <= 0 || life > login.MaxLife:
				return usage("--life %v: want more than 0 and at most %v", life, login.MaxLife)
			case rating < 0 || rating > login.MaxRating:
				return usage("--rating %d: want 0 to %d", rating, login.MaxRating)
			}
			if err := limits.CheckPlayer("--player", player); err != nil {
				return usage("--player %q: want a name of 1 to %d characters", player, limits.MaxPlayer)
			}
			data, err := os.ReadFile(keyFile)
			if err != nil {
				return usage("--key-file: %w", err)
			}
			key, err := login.ParsePrivateKey(keyFile, data)
			if err != nil {
				return usage("--key-file: %w", err)
			}
			token, err := login.Sign(key, login.Grant{
				Player: player, Rating: rating, Expires: time.Now().Add(life), Issuer: issuer, Audience: audience,
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&keyFile, "key-file", "", "PEM `FILE` with the private key that signs (required)")
	f.StringVar(&player, "player", "", "`NAME` of the player (required)")
	f.Int32Var(&rating, "rating", 1000, "`RATING` of the player, for matchmaking")
	f.DurationVar(&life, "life", time.Hour, "how long the token can be used, at most 24h")
	f.StringVar(&issuer, "issuer", login.Issuer, "`ISSUER` that the Agents expect")
	f.StringVar(&audience, "audience", login.Audience, "`AUDIENCE` that the Agents expect")
	return cmd
}

// newLoginKey makes a key that signs login tokens.
func newLoginKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return login.FormatPrivateKey(key)
}

// publicLoginKey gives what Agents need of it.
func publicLoginKey(private []byte) ([]byte, error) {
	key, err := login.ParsePrivateKey("login.key", private)
	if err != nil {
		return nil, err
	}
	return login.FormatKey(key.Public().(ed25519.PublicKey))
}

// keepLoginKey makes a key that signs login tokens, and the file of its public
// key, unless they are there.
func keepLoginKey(keyFile, publicFile string) error {
	if err := keepFile(keyFile, newLoginKey); err != nil {
		return err
	}
	private, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	public, err := publicLoginKey(private)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	if there, err := os.ReadFile(publicFile); err == nil && strings.Contains(string(there), string(public)) {
		return nil // others may have been added to it
	}
	return replaceFile(publicFile, public, 0o644)
}
