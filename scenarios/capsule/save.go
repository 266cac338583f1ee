package capsule

import (
	"cmp"
	"io"
	"os"
	"path/filepath"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
)

// Save writes the capsule of a result into a directory, which is made if need be,
// and gives its path. An older one of that name is replaced.
func Save(dir string, res *scenarios.Result, o Origin) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	o.Name = cmp.Or(o.Name, Name(res.ID, res.Seed, false))
	file := filepath.Join(dir, o.Name)
	return file, report.WriteFile(file, func(w io.Writer) error { return Write(w, res, o) })
}

// Leave saves the capsule of a result that is not as expected, and does nothing
// for others. The result then has its path: from the folder of the report that the
// result is part of, if there is one.
func Leave(dir, reportDir string, res *scenarios.Result, o Origin) error {
	if res.Verdict == scenarios.Expected {
		return nil
	}
	file, err := Save(dir, res, o)
	if err != nil {
		return err
	}
	res.Capsule = file
	if reportDir == "" {
		return nil
	}
	if from, err := filepath.Rel(reportDir, file); err == nil {
		res.Capsule = filepath.ToSlash(from)
		return nil
	}
	res.Capsule, err = filepath.Abs(file) // one of the two paths is absolute
	return err
}

// Path is where the capsule of a result is whose report is in a folder; "": there
// is no report.
func Path(reportDir string, res *scenarios.Result) string {
	if reportDir == "" || filepath.IsAbs(res.Capsule) {
		return res.Capsule
	}
	return filepath.Join(reportDir, res.Capsule)
}
