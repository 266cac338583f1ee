// Command generate makes the Go code of the protobuf files below core/shard/api:
//
//	go run ./core/shard/api/generate [-check] (from the root of the module)
//
// It needs no protoc: protocompile parses, and the plugins are tools of go.mod.
// With -check it writes nothing and fails if a committed file is not what it
// would write.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// files and the plugins that each goes through.
var files = []struct {
	path    string
	plugins []string
}{
	{"core/shard/api/agentv1/agent.proto", []string{"protoc-gen-go", "protoc-gen-connect-go"}},
	// The services of the inside are only documentation: they travel by the
	// engine, not by HTTP.
	{"core/shard/api/insidev1/inside.proto", []string{"protoc-gen-go"}},
	{"core/shard/api/insidev1/stored.proto", []string{"protoc-gen-go"}},
}

func main() {
	check := flag.Bool("check", false, "write nothing; fail if a committed file is out of date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	var names []string
	for _, f := range files {
		names = append(names, f.path)
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return err
	}
	for i, f := range files {
		for _, plugin := range f.plugins {
			if err := generate(compiled, compiled[i], plugin, check); err != nil {
				return fmt.Errorf("%s of %s: %w", plugin, f.path, err)
			}
		}
	}
	return nil
}

// generate runs one plugin for one file.
func generate(all linker.Files, file linker.File, plugin string, check bool) error {
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file.Path()},
		Parameter:      proto.String("module=p2pmodel"),
	}
	for _, f := range all {
		req.ProtoFile = append(req.ProtoFile, descriptor(f))
	}
	in, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	cmd := exec.Command(goCommand(), "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return fmt.Errorf("%s", *resp.Error)
	}
	for _, f := range resp.File {
		if err := put(f.GetName(), []byte(f.GetContent()), check); err != nil {
			return err
		}
	}
	return nil
}

// descriptor keeps the comments, which become those of the Go code.
func descriptor(f linker.File) *descriptorpb.FileDescriptorProto {
	if r, ok := f.(linker.Result); ok {
		return r.FileDescriptorProto()
	}
	return protodesc.ToFileDescriptorProto(f)
}

func put(name string, content []byte, check bool) error {
	if check {
		if old, err := os.ReadFile(name); err != nil || !bytes.Equal(old, content) {
			return fmt.Errorf("%s is not what its .proto file says: run make generate", name)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}

// goCommand is the go command: $GO, as the Makefile has it, or the one in the PATH.
func goCommand() string {
	if own := os.Getenv("GO"); own != "" {
		return own
	}
	return "go"
}
