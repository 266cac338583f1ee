package scenarios

import (
	"bytes"
	"fmt"

	"p2pmodel/sim/document"
)

// FilesPage is the page of the documents that has every key of scenario and lab
// files, made from their schema.
func FilesPage() []byte {
	var page bytes.Buffer
	page.WriteString(filesHead)
	var r document.Reference
	r.Write("", Schema())
	page.Write(r.Bytes())
	return page.Bytes()
}

var filesHead = fmt.Sprintf(`# Keys of files

Every key of scenario files, made from the schema by which editors help (%[1]snatlab schema%[1]s). What the keys mean together is in
[scenarios.md](scenarios.md), [programs.md](programs.md) and [nat.md](nat.md). A lab file, for %[1]snatlab up%[1]s, has the keys
%[1]slab%[1]s and %[1]sevents%[1]s of these, and no others.

## Values

| value | |
|---|---|
| duration | as in Go: %[1]s20ms%[1]s, %[1]s5s%[1]s, %[1]s1m30s%[1]s; %[1]s0%[1]s needs no unit |
| probability | %[1]s2%%%[1]s or %[1]s0.02%[1]s |
| rate | bits a second: %[1]s384kbit%[1]s, %[1]s50Mbit%[1]s, %[1]s1Gbit%[1]s |
| size | bytes: %[1]s3000%[1]s, %[1]s64kB%[1]s (64,000), %[1]s64KiB%[1]s (65,536) |
| port | 1 to 65535 |
| name → … | a mapping from names that you choose |

Names of presets and profiles, where a table shows the first ones only, are in [presets.md](presets.md) and
[profiles.md](profiles.md).

A key without a default may be left out, and its description says what that means. A mapping that may be empty may also be
left empty: %[1]sserver: {}%[1]s and %[1]sserver:%[1]s are the same.

## Sections
`, "`")
