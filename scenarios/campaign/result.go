package campaign

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/wilson"
)

// Result is a campaign, or a part of one, with what came of it: what the JSON form
// holds. Nothing in it depends on when, where or in what order trials were played.
type Result struct {
	Schema     int    `json:"schema"` // 1
	Population Source `json:"population"`
	Seed       uint64 `json:"seed"`
	// Trials is how many the campaign has. Counts has how many were played.
	Trials uint64 `json:"trials"`
	Shard  Shard  `json:"shard"`
	// Partial says that it was interrupted.
	Partial bool   `json:"partial"`
	Version string `json:"version"`
	Counts  Counts `json:"counts"`
	// Report is what follows from the counts; a part of a campaign has none.
	Report *Report `json:"report,omitempty"`

	population *Population
}

// Source is a population as it was read, so that a result can be read where the
// file is not.
type Source struct {
	ID     string            `json:"id"`
	Title  string            `json:"title"`
	File   string            `json:"file"`
	Digest string            `json:"digest"` // SHA-256
	Text   string            `json:"text"`
	Files  map[string][]byte `json:"files,omitempty"` // that it refers to
}

func newResult(c *Campaign, shard Shard, counts Counts) *Result {
	p := c.Population
	r := &Result{
		Schema: 1, Population: Source{p.ID, p.Title, filepath.Base(p.File), p.Digest(), string(p.text), p.files},
		Seed: c.Seed, Trials: c.Trials, Shard: shard, Partial: counts.Trials < shard.trials(c.Trials),
		Version: c.Version, Counts: counts, population: p,
	}
	return r
}

// Whole reports whether it is no part of a campaign that is spread over shards.
func (r *Result) Whole() bool { return r.Shard.Of == 1 }

// Conclude computes the report of a whole campaign.
func (r *Result) Conclude() error {
	if !r.Whole() {
		return nil
	}
	var err error
	r.Report, err = newReport(r.population, &r.Counts)
	return err
}

// WriteJSON writes the result.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// Read reads what WriteJSON wrote. The report is computed anew from the counts.
func Read(in io.Reader) (*Result, error) {
	var r Result
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, fmt.Errorf("no campaign in JSON: %w", err)
	}
	if r.Schema != 1 || r.Shard.Of == 0 || r.Shard.Of > MaxShards || r.Shard.Index >= r.Shard.Of || r.Trials > MaxTrials {
		return nil, errors.New("no campaign that this version reads")
	}
	p, err := parse(r.Population.File, []byte(r.Population.Text), r.Population.Files, true)
	if err != nil {
		return nil, fmt.Errorf("its population: %w", err)
	}
	if p.Digest() != r.Population.Digest {
		return nil, errors.New("its population is not the one that its digest is of: somebody has changed the file")
	}
	if err := r.Counts.check(p); err != nil {
		return nil, fmt.Errorf("its counts: %w", err)
	}
	if played := r.Shard.trials(r.Trials); r.Counts.Trials > played || !r.Partial && r.Counts.Trials != played {
		return nil, fmt.Errorf("it counts %d trials of %d", r.Counts.Trials, played)
	}
	r.population = p
	return &r, nil
}

// WriteCSV writes a line for each pair of kinds of players.
func (r *Result) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	lines := [][]string{{
		"a", "b", "home", "weight", "pairs", "direct", "predicted", "searched", "relayed", "failed",
		"direct_share", "direct_low", "direct_high", "relayed_share", "relayed_low", "relayed_high", "oracle",
	}}
	asked, weights := verdicts{}, r.population.weights()
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', 6, 64) }
	count := func(v uint64) string { return strconv.FormatUint(v, 10) }
	for _, x := range r.Counts.Cells {
		v, err := asked.of(r.population, x.A, x.B, x.Home)
		if err != nil {
			return err
		}
		n := x.Pairs()
		direct, relayed := wilson.Of(x.AllDirect(), n), wilson.Of(x.Relayed, n)
		lines = append(lines, []string{
			r.population.kinds[x.A].Name, r.population.kinds[x.B].Name, strconv.FormatBool(x.Home),
			number(weights.cell(r.population.kinds, x.A, x.B, x.Home)), count(n), count(x.Direct), count(x.Predicted), count(x.Searched), count(x.Relayed), count(x.Failed),
			number(direct.Share), number(direct.Low), number(direct.High), number(relayed.Share), number(relayed.Low), number(relayed.High),
			string(v.path),
		})
	}
	if err := cw.WriteAll(lines); err != nil {
		return err
	}
	return cw.Error()
}

// The files of a campaign's report.
const (
	jsonFile = "campaign.json"
	csvFile  = "campaign.csv"
)

// File is where a result is in a report's directory.
func File(dir string) string { return filepath.Join(dir, jsonFile) }

// Write writes JSON and, of a whole campaign, CSV and the page into a directory,
// which is made if need be.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := report.WriteFile(File(dir), r.WriteJSON)
	if r.Report == nil {
		return err
	}
	return errors.Join(err,
		report.WriteFile(filepath.Join(dir, csvFile), r.WriteCSV),
		report.WriteFile(report.Index(dir), r.HTML),
	)
}
