package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost is what checking a password takes: Argon2id (RFC 9106).
type Cost struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultCost is what HashPassword uses: some 20 ms of one processor.
var DefaultCost = Cost{Memory: 19 << 10, Time: 2, Threads: 1}

// Bounds of a hash that is read from a file: what is below protects nothing,
// what is above would stop the server that checks it.
const (
	minMemory  = 8 << 10
	maxMemory  = 256 << 10
	maxTime    = 16
	maxThreads = 8
	minSalt    = 8
	maxSalt    = 64
	minHash    = 16
	maxHash    = 64
)

// hash is a hashed password.
type hash struct {
	cost      Cost
	salt, sum []byte
}

// HashPassword gives the form in which the file of accounts has a password, for
// the default cost: $argon2id$v=19$m=…,t=…,p=…$SALT$HASH.
func HashPassword(password string) string {
	h := hash{cost: DefaultCost, salt: make([]byte, 16)}
	rand.Read(h.salt)
	h.sum = h.derive(password, 32)
	return h.String()
}

func (h hash) derive(password string, size int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.cost.Time, h.cost.Memory, h.cost.Threads, uint32(size))
}

// matches compares in constant time.
func (h hash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.derive(password, len(h.sum)), h.sum) == 1
}

// String is the form of the file.
func (h hash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$%s$%s$%s", argon2.Version, h.cost, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

// String is the form that hashes have it in.
func (c Cost) String() string { return fmt.Sprintf("m=%d,t=%d,p=%d", c.Memory, c.Time, c.Threads) }

// errHash is told of a hash that cannot be used; it does not repeat it.
var errHash = errors.New("the password is no hash $argon2id$v=19$m=…,t=…,p=…$SALT$HASH; make one with p2pmodel account")

func parseHash(text string) (hash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return hash{}, errHash
	}
	var h hash
	n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.cost.Memory, &h.cost.Time, &h.cost.Threads)
	if n != 3 || err != nil || h.cost.String() != parts[3] {
		return hash{}, errHash
	}
	b64 := base64.RawStdEncoding.Strict()
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < minSalt || len(h.salt) > maxSalt {
		return hash{}, errHash
	}
	if h.sum, err = b64.DecodeString(parts[5]); err != nil || len(h.sum) < minHash || len(h.sum) > maxHash {
		return hash{}, errHash
	}
	c := h.cost
	if c.Memory < minMemory || c.Memory > maxMemory || c.Time < 1 || c.Time > maxTime || c.Threads < 1 || c.Threads > maxThreads {
		return hash{}, fmt.Errorf("the password's cost is %s; m %d to %d, t 1 to %d, p 1 to %d are taken", c, minMemory, maxMemory, maxTime, maxThreads)
	}
	return h, nil
}
