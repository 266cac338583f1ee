package document

import (
	"bytes"
	"maps"
)

// Referred gives the files that the document refers to and that its decoders have
// read, by the names that it has for them: with these, and its own text, it can be
// read where those files are not.
func (d *Document) Referred() map[string][]byte { return maps.Clone(d.referred) }

// Attach says what the files hold that the document refers to. From then on
// decoders read no others.
func (d *Document) Attach(files map[string][]byte) { d.attached, d.sealed = files, true }

// Attached gives a file that was attached, by the name that the document has for
// it. sealed reports that only such files may be read.
func (n *Node) Attached(name string) (data []byte, found, sealed bool) {
	data, found = n.doc.attached[name]
	return data, found, n.doc.sealed
}

// Refer notes that the document refers to a file, and what is in it.
func (n *Node) Refer(name string, data []byte) {
	if n.doc.referred == nil {
		n.doc.referred = map[string][]byte{}
	}
	n.doc.referred[name] = bytes.Clone(data)
}
