package document

import "testing"

func TestReferenceOfASchema(t *testing.T) {
	port := ObjectSchema(map[string]Schema{
		"number": PortSchema().Described("Its number."),
		"open":   BoolSchema().Default(true).Described("Whether it is open."),
	}, "number")
	s := ObjectSchema(map[string]Schema{
		"wait":  DurationSchema().Default("5s").Described("How long."),
		"often": Schema{"anyOf": []Schema{IntSchema(1, 9), WordSchema("never")}}.Described("How often.\nAnd more."),
		"ports": MapSchema("^x", port).Described("Ports by name."),
		"other": Schema{"anyOf": []Schema{TextSchema(), port}}.Described("One more, a | b."),
		"pair":  Schema{"type": "array", "items": TextSchema(), "minItems": 2, "maxItems": 2},
		"name":  TextSchema(),
	}, "name")
	s["oneOf"] = []Schema{{"required": []string{"wait"}}, {"required": []string{"often", "ports"}}}
	s["not"] = Schema{"required": []string{"wait", "pair"}}
	var r Reference
	r.Write("top", s)
	const want = "\n### `top`\n\nExactly one of: `wait`; `often` and `ports`. Not together: `wait`, `pair`.\n\n" +
		"| key | value | default | |\n|---|---|---|---|\n" +
		"| `name` | text | required |  |\n" +
		"| `often` | 1 to 9; or `never` |  | How often. |\n" +
		"| `other` | text; or [mapping](#topother) |  | One more, a \\| b. |\n" +
		"| `pair` | list of 2: text |  |  |\n" +
		"| `ports` | name → [mapping](#topother) |  | Ports by name. |\n" +
		"| `wait` | duration | `5s` | How long. |\n" +
		"\n### `top.other`\n\nOne more, a | b.\n\n" +
		"| key | value | default | |\n|---|---|---|---|\n" +
		"| `number` | port | required | Its number. |\n" +
		"| `open` | `true`, `false` | `true` | Whether it is open. |\n"
	if got := string(r.Bytes()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
