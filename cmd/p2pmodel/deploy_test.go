package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const deploy = "../../ci/deploy"

// object is an object of Kubernetes.
type object struct {
	file string
	data map[string]any
}

func (o object) String() string {
	return fmt.Sprintf("%s: %v %v", filepath.Base(o.file), o.at("kind"), o.at("metadata", "name"))
}

// at gives what is at a path, nil if nothing is.
func (o object) at(path ...string) any { return at(o.data, path...) }

func at(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// list is at for lists.
func list(v any, path ...string) []any {
	l, _ := at(v, path...).([]any)
	return l
}

func (o object) namespace() string { return fmt.Sprint(o.at("metadata", "namespace")) }

// manifests reads all objects.
func manifests(t *testing.T) []object {
	t.Helper()
	files, err := filepath.Glob(deploy + "/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	var all []object
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var document any
			err := d.Decode(&document)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, object{file, asJSON(t, document).(map[string]any)})
		}
	}
	return all
}

// asJSON gives a value as it is after a way through JSON, which validators expect.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func kubernetesSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(deploy + "/schema/kubernetes.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestManifestsAreWhatKubernetesTakes(t *testing.T) {
	schema := kubernetesSchema(t)
	for _, o := range manifests(t) {
		if err := schema.Validate(o.data); err != nil {
			t.Errorf("%v: %v", o, err)
		}
	}
}

// The schema is one that refuses mistakes.
func TestTheSchemaRefusesMistakes(t *testing.T) {
	schema := kubernetesSchema(t)
	sound := func() map[string]any {
		for _, o := range manifests(t) {
			if o.at("kind") == "StatefulSet" {
				return o.data
			}
		}
		t.Fatal("there is no StatefulSet")
		return nil
	}
	container := func(data map[string]any) map[string]any {
		return list(data, "spec", "template", "spec", "containers")[0].(map[string]any)
	}
	for name, spoil := range map[string]func(data map[string]any){
		"an unknown key":           func(d map[string]any) { d["specs"] = d["spec"] },
		"an unknown key below":     func(d map[string]any) { container(d)["livenessprobe"] = container(d)["livenessProbe"] },
		"text for a number":        func(d map[string]any) { at(d, "spec").(map[string]any)["replicas"] = "three" },
		"something needed missing": func(d map[string]any) { delete(container(d), "name") },
		"another version":          func(d map[string]any) { d["apiVersion"] = "apps/v1beta1" },
		"an unknown kind":          func(d map[string]any) { d["kind"] = "StatefullSet" },
	} {
		data := sound()
		if err := schema.Validate(data); err != nil {
			t.Fatal(err)
		}
		spoil(data)
		if schema.Validate(data) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// podOf gives the template of an object's pods, nil if it has none.
func podOf(o object) map[string]any {
	m, _ := o.at("spec", "template").(map[string]any)
	return m
}

// matches reports whether labels match a selector's matchLabels.
func matches(selector, labels any) bool {
	want, _ := selector.(map[string]any)
	have, _ := labels.(map[string]any)
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

func TestManifestsFitTogether(t *testing.T) {
	all := manifests(t)
	selects := func(o object, namespace string, selector any) (pods []object) {
		for _, p := range all {
			if podOf(p) != nil && p.namespace() == namespace && matches(selector, at(podOf(p), "metadata", "labels")) {
				pods = append(pods, p)
			}
		}
		if len(pods) == 0 {
			t.Errorf("%v selects no pod with %v in %s", o, selector, namespace)
		}
		return pods
	}
	for _, o := range all {
		switch o.at("kind") {
		case "Deployment", "StatefulSet":
			if !matches(o.at("spec", "selector", "matchLabels"), at(podOf(o), "metadata", "labels")) {
				t.Errorf("%v does not select its own pods", o)
			}
			checkPod(t, o)
		case "Service":
			for _, p := range selects(o, o.namespace(), o.at("spec", "selector")) {
				checkPorts(t, o, p)
			}
		case "PodDisruptionBudget":
			selects(o, o.namespace(), o.at("spec", "selector", "matchLabels"))
		case "NetworkPolicy":
			selects(o, o.namespace(), o.at("spec", "podSelector", "matchLabels"))
			for _, way := range append(list(o.data, "spec", "ingress"), list(o.data, "spec", "egress")...) {
				for _, peer := range append(list(way, "from"), list(way, "to")...) {
					namespace := at(peer, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name")
					if namespace == nil {
						namespace = o.namespace()
					}
					if s := at(peer, "podSelector", "matchLabels"); s != nil {
						selects(o, fmt.Sprint(namespace), s)
					}
				}
			}
		}
	}
}

// checkPod checks what every pod of ours has to have.
func checkPod(t *testing.T, o object) {
	t.Helper()
	pod := at(podOf(o), "spec")
	for path, want := range map[string]any{
		"automountServiceAccountToken": false, "enableServiceLinks": false, "securityContext.runAsNonRoot": true,
	} {
		if got := at(pod, strings.Split(path, ".")...); got != want {
			t.Errorf("%v: %s is %v, want %v", o, path, got, want)
		}
	}
	volumes := map[any]bool{}
	for _, v := range list(pod, "volumes") {
		volumes[at(v, "name")] = true
	}
	for _, v := range list(o.data, "spec", "volumeClaimTemplates") {
		volumes[at(v, "metadata", "name")] = true
	}
	for _, c := range list(pod, "containers") {
		security := at(c, "securityContext")
		if at(security, "readOnlyRootFilesystem") != true || at(security, "allowPrivilegeEscalation") != false || len(list(security, "capabilities", "drop")) == 0 {
			t.Errorf("%v: its container may do too much: %v", o, security)
		}
		for _, m := range list(c, "volumeMounts") {
			if !volumes[at(m, "name")] {
				t.Errorf("%v mounts %v, which is no volume", o, at(m, "name"))
			}
		}
	}
}

// checkPorts checks that the pods of a service have its ports.
func checkPorts(t *testing.T, service, pod object) {
	t.Helper()
	ports := map[string]bool{}
	for _, c := range list(podOf(pod), "spec", "containers") {
		for _, p := range list(c, "ports") {
			ports[fmt.Sprint(at(p, "containerPort"))], ports[fmt.Sprint(at(p, "name"))] = true, true
		}
	}
	for _, p := range list(service.data, "spec", "ports") {
		target := at(p, "targetPort")
		if target == nil {
			target = at(p, "port")
		}
		if !ports[fmt.Sprint(target)] {
			t.Errorf("%v: %v has no port %v", service, pod, target)
		}
	}
}

// deployed makes the layout that the manifests and units are about, as
// docs/operating.md says, but installed in a folder of the test.
func deployed(t *testing.T) (install string) {
	t.Helper()
	install = filepath.Join(t.TempDir(), "etc")
	code, _, says := executeWith(t.Context(), "", "init", install, "--engines", "3", "--directories", "3", "--shards", "2",
		"--host", "engine-1=engine-1.engine.p2pmodel.svc", "--host", "engine-2=engine-2.engine.p2pmodel.svc", "--host", "engine-3=engine-3.engine.p2pmodel.svc",
		"--host", "rendezvous-1=198.51.100.1", "--host", "relay-1=198.51.100.1",
		"--host", "agent-1=0.0.0.0,play.example.org", "--store-dir", filepath.Join(install, "var"))
	if code != 0 {
		t.Fatalf("init: exit %d, %s", code, says)
	}
	return install
}

// accepted runs a command line with --check, or --print-config where there is no
// such flag: all flags are known, values and files are sound.
func accepted(t *testing.T, what string, args []string) (configuration map[string]any) {
	t.Helper()
	if slices.Contains([]string{"engine", "directory", "shard", "agent", "all"}, args[0]) {
		if code, _, says := executeWith(t.Context(), "", append(slices.Clone(args), "--check")...); code != 0 {
			t.Errorf("%s: p2pmodel %s --check: exit %d\n%s", what, strings.Join(args, " "), code, says)
		}
	}
	code, printed, says := executeWith(t.Context(), "", append(slices.Clone(args), "--print-config")...)
	if code != 0 {
		t.Errorf("%s: p2pmodel %s --print-config: exit %d\n%s", what, strings.Join(args, " "), code, says)
	}
	if err := yaml.Unmarshal([]byte(printed), &configuration); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return configuration
}

func TestTheCommandsTakeTheArgumentsOfManifests(t *testing.T) {
	etc := deployed(t)
	// The certificate that clients see comes from elsewhere.
	for from, to := range map[string]string{"agent-1/agent.crt": "tls/tls.crt", "agent-1/agent.key": "tls/tls.key"} {
		data, err := os.ReadFile(filepath.Join(etc, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(filepath.Join(etc, "tls"), 0o700), os.WriteFile(filepath.Join(etc, to), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	commands := map[string]bool{}
	for _, o := range manifests(t) {
		for _, c := range list(podOf(o), "spec", "containers") {
			for _, name := range podNames(o) {
				var args []string
				for _, a := range list(c, "args") {
					args = append(args, strings.NewReplacer("$(POD_NAME)", name, "/etc/p2pmodel", etc).Replace(a.(string)))
				}
				commands[args[0]] = true
				checkContainer(t, o, c, accepted(t, fmt.Sprintf("%v, pod %s", o, name), args))
			}
			for _, m := range list(c, "volumeMounts") {
				checkMount(t, o, m, etc)
			}
		}
	}
	if got := slices.Sorted(maps.Keys(commands)); !slices.Equal(got, []string{"agent", "directory", "engine", "relay", "rendezvous", "shard"}) {
		t.Errorf("the manifests run %v", got)
	}
}

// podNames are the names of an object's pods.
func podNames(o object) []string {
	name := fmt.Sprint(o.at("metadata", "name"))
	replicas, _ := o.at("spec", "replicas").(json.Number).Int64()
	start := int64(0)
	if n, ok := o.at("spec", "ordinals", "start").(json.Number); ok {
		start, _ = n.Int64()
	}
	var names []string
	for i := range replicas {
		names = append(names, fmt.Sprintf("%s-%d", name, start+i))
	}
	return names
}

// checkContainer compares a container's ports with the configuration.
func checkContainer(t *testing.T, o object, container any, configuration map[string]any) {
	t.Helper()
	listens := map[string]bool{}
	for _, key := range []string{"listen", "metrics-listen"} {
		if address, ok := configuration[key].(string); ok {
			_, port, _ := strings.Cut(address, ":")
			listens[port] = true
		}
	}
	for _, p := range list(container, "ports") {
		if port := fmt.Sprint(at(p, "containerPort")); len(listens) > 0 && !listens[port] && o.at("metadata", "name") != "engine" {
			t.Errorf("%v: the container's port %s is none of the configuration's: %v", o, port, listens)
		}
	}
}

// checkMount checks that a secret that is mounted is a folder that init makes.
func checkMount(t *testing.T, o object, mount any, etc string) {
	t.Helper()
	path := fmt.Sprint(at(mount, "mountPath"))
	folder, ours := strings.CutPrefix(path, "/etc/p2pmodel/")
	if !ours {
		return
	}
	if _, err := os.Stat(filepath.Join(etc, folder)); err != nil {
		t.Errorf("%v mounts %s, which p2pmodel init does not make", o, path)
	}
	for _, v := range list(podOf(o), "spec", "volumes") {
		if secret := at(v, "secret", "secretName"); at(v, "name") == at(mount, "name") && secret != folder && secret != "agent-"+folder {
			t.Errorf("%v mounts secret %v at %s", o, secret, path)
		}
	}
}

// unitFile is a systemd unit: section → key → values.
type unitFile map[string]map[string][]string

func readUnit(t *testing.T, file string) unitFile {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	u, section := unitFile{}, ""
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	for i, line := range strings.Split(joined, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			u[section] = map[string][]string{}
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("%s: line %d: %q", file, i+1, line)
			}
			u[section][key] = append(u[section][key], value)
		}
	}
	return u
}

func units(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(deploy + "/systemd/*.service")
	if err != nil || len(files) == 0 {
		t.Fatalf("no units: %v", err)
	}
	return files
}

func TestTheCommandsTakeTheArgumentsOfUnits(t *testing.T) {
	etc := deployed(t)
	for _, file := range units(t) {
		command, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(file), "p2pmodel-"), "@")
		instance := command + "-1"
		if command == "shard" {
			instance = "shard-2" // shard-1 has its UDP servers elsewhere
		}
		service := readUnit(t, file)["Service"]
		folder := filepath.Join(etc, instance)
		args := strings.Fields(strings.NewReplacer("%i", instance, "%d", folder, "/etc/p2pmodel", etc).Replace(service["ExecStart"][0]))
		if args[0] != "/usr/local/bin/p2pmodel" || args[1] != command {
			t.Errorf("%s runs %s", file, strings.Join(args, " "))
			continue
		}
		accepted(t, file, args[1:])
		for _, credential := range service["LoadCredential"] {
			name, path, _ := strings.Cut(credential, ":")
			if !strings.Contains(service["ExecStart"][0], "%d/"+name) {
				t.Errorf("%s: the command does not use the credential %s", file, name)
			}
			if _, err := os.Stat(strings.NewReplacer("%i", instance, "/etc/p2pmodel", etc).Replace(path)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

func TestUnitsConfineTheirProcess(t *testing.T) {
	for _, file := range units(t) {
		service := readUnit(t, file)["Service"]
		for key, want := range map[string]string{
			"DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
			"PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes", "RestrictNamespaces": "yes", "SystemCallArchitectures": "native",
			"BindReadOnlyPaths": "/etc/p2pmodel/%i",
		} {
			if got := service[key]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %v, want %s", filepath.Base(file), key, got, want)
			}
		}
	}
}

// systemd's own judgement, where it is installed.
func TestSystemdTakesTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("LEFT OUT: systemd-analyze is not installed (apt-get install systemd)")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "p2pmodel")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range units(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.Base(file))
		// It wants to find what a unit runs.
		text = bytes.ReplaceAll(text, []byte("/usr/local/bin/p2pmodel"), []byte(program))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"verify", "--man=no", "--generators=no", name},
			{"security", "--offline=yes", "--threshold=20", "--no-pager", name}, // 2.0 of 10
		} {
			if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
				t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
}
