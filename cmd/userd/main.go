package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/cmd/userd/remote"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		stderr := newOutput(os.Stderr)
		fmt.Fprintln(stderr, "userd:", err)
		stderr.Close()
		os.Exit(cli.Code(err))
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "userd",
		Short: "The user service: gRPC, gRPC-Web and HTTP/JSON on one port.",
		Long: "The user service: gRPC, gRPC-Web and HTTP/JSON on one port.\n\n" +
			"Every flag can be set in the environment too: --cors-origin is USERD_CORS_ORIGIN.",
		Example: "  userd serve\n" +
			"  userd create --email ada@example.com --name 'Ada Lovelace' --role admin\n" +
			"  userd get ada@example.com\n" +
			"  userd import users.csv\n" +
			"  userd export | head\n" +
			"  userd serve --database-file database --redis redis://cache.internal:6379\n" +
			"  USERD_LISTEN=127.0.0.1:8000 userd serve",
		Version:       version(),
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          showHelp,
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, warning := range unknownVariables(root, os.Environ()) {
			fmt.Fprintln(cmd.ErrOrStderr(), "userd: warning:", warning)
		}
		err := settle(cmd.Flags())
		if errors.As(err, new(*fs.PathError)) {
			return err // The file may yet come, so that whoever has started us tries again.
		}
		return cli.Wrong(err)
	}
	root.SetVersionTemplate("userd {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(remote.Commands()...)
	root.AddCommand(serveCommand(), migrateCommand(), copyCommand(), cacheCommand(), healthcheckCommand(), tokenCommand(), versionCommand())
	strict(root)
	return root
}

// strict has the commands that cobra adds refuse what they do not know, as all others do.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				topic, rest, _ := root.Find(args) // What it does not know is the rest.
				return noArgs(topic, rest)
			}
		case "completion":
			cmd.Args, cmd.RunE = noArgs, showHelp
			for _, shell := range cmd.Commands() {
				shell.Args = noArgs
			}
		}
	}
}

// showHelp is what a command does that only has others below it.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "userd", version())
		},
	}
}

// version is that of the module, which has the commit where a checkout was built with
// git at hand. What go run has built has neither.
func version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok || build.Main.Version == "" || build.Main.Version == "(devel)" {
		return "of an unknown commit"
	}
	return build.Main.Version
}
