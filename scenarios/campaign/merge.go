package campaign

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ReadPart reads a part of a campaign: a file, or the directory of a report.
func ReadPart(path string) (*Result, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = File(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Parts gives the files of parts: of a folder that holds none, those of the folders
// in it.
func Parts(names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(File(name)); !info.IsDir() || err == nil {
			all = append(all, name)
			continue
		}
		inside, err := filepath.Glob(File(filepath.Join(name, "*")))
		if err != nil || len(inside) == 0 {
			return nil, fmt.Errorf("%s holds no part of a campaign: no %s in it, nor in a folder in it", name, jsonFile)
		}
		all = append(all, inside...)
	}
	return all, nil
}

// MergeFiles joins the parts of a campaign. Its errors name all parts that do not
// fit, are there twice, or are missing.
func MergeFiles(names []string) (*Result, error) {
	var parts []*Result
	var errs []error
	for _, name := range names {
		r, err := ReadPart(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		parts = append(parts, r)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return Merge(names, parts)
}

// Merge joins parts, which have names for messages. The result is the one that the
// whole campaign would have given.
func Merge(names []string, parts []*Result) (*Result, error) {
	if len(parts) == 0 {
		return nil, errors.New("there is nothing to merge")
	}
	first := parts[0]
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	have := map[uint64]string{}
	for i, r := range parts {
		for _, c := range []struct {
			what         string
			is, shouldBe any
		}{
			{"population", r.Population.ID + " " + short(r.Population.Digest), first.Population.ID + " " + short(first.Population.Digest)},
			{"seed", r.Seed, first.Seed},
			{"number of trials", r.Trials, first.Trials},
			{"number of shards", r.Shard.Of, first.Shard.Of},
			{"version of natlab", r.Version, first.Version},
		} {
			if c.is != c.shouldBe {
				fail("%s: its %s is %v, that of %s is %v: they are no parts of one campaign", names[i], c.what, c.is, names[0], c.shouldBe)
			}
		}
		if r.Whole() && len(parts) > 1 {
			fail("%s is a whole campaign and no part of one", names[i])
		}
		if r.Partial {
			fail("%s was interrupted after %d of %d trials: run shard %d/%d again", names[i], r.Counts.Trials, r.Shard.trials(r.Trials), r.Shard.Index, r.Shard.Of)
		}
		if other, twice := have[r.Shard.Index]; twice {
			fail("%s and %s are both shard %d/%d: give it once", other, names[i], r.Shard.Index, r.Shard.Of)
			continue
		}
		have[r.Shard.Index] = names[i]
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if uint64(len(have)) < first.Shard.Of {
		return nil, fmt.Errorf("%s missing of %d shards: %s", isAre(first.Shard.Of-uint64(len(have))), first.Shard.Of, missing(have, first.Shard.Of))
	}
	whole := *first
	whole.Shard, whole.Counts, whole.Report = Shard{Of: 1}, Counts{}, nil
	for _, r := range parts {
		whole.Counts.Merge(&r.Counts)
	}
	return &whole, whole.Conclude()
}

func isAre(n uint64) string {
	if n == 1 {
		return "1 part is"
	}
	return fmt.Sprintf("%d parts are", n)
}

// named is how many missing parts a message names.
const named = 20

func missing(have map[uint64]string, of uint64) string {
	var list []string
	for i := range of {
		if _, ok := have[i]; ok {
			continue
		}
		if len(list) == named {
			list = append(list, "…")
			break
		}
		list = append(list, fmt.Sprintf("%d/%d", i, of))
	}
	return strings.Join(list, ", ")
}

func short(digest string) string { return digest[:min(12, len(digest))] }
