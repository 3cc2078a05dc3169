// Userd is the user service.
//
//   - main.go and settings.go: the commands, and their flags from command line, environment
//     and files, without showing what is secret (database.go has the forms of --database).
//   - serve.go, config.go: the server, from its flags to its end, with banner.go for what it
//     says first, certificate.go, tracing.go, and gc.go for how often it collects garbage.
//   - migrate.go, copy.go, cachecheck.go, healthcheck.go, token.go: the other commands.
//   - output.go: lines that are written without waiting for whoever reads them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		stderr := newOutput(os.Stderr)
		fmt.Fprintln(stderr, "userd:", err)
		stderr.Close()
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "userd",
		Short: "The user service: gRPC, gRPC-Web and HTTP/JSON on one port.",
		Long: "The user service: gRPC, gRPC-Web and HTTP/JSON on one port.\n\n" +
			"Every flag can be set in the environment too: --cors-origin is USERD_CORS_ORIGIN.",
		Args:              noArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return settle(cmd.Flags()) },
		RunE:              showHelp,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(serveCommand(), migrateCommand(), copyCommand(), cacheCommand(), healthcheckCommand(), tokenCommand(), versionCommand())
	return root
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

// version is that of the module, or the commit that a checkout was built from.
func version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok || build.Main.Version == "" {
		return "(unknown)"
	}
	return build.Main.Version
}
