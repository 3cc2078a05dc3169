package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/cmd/userd/rows"
	userv1 "github.com/example/userd/gen/user/v1"
)

// conflicts are the values of --on-conflict.
var conflicts = map[string]userv1.OnConflict{
	"fail":   userv1.OnConflict_ON_CONFLICT_FAIL,
	"skip":   userv1.OnConflict_ON_CONFLICT_SKIP,
	"update": userv1.OnConflict_ON_CONFLICT_UPDATE,
}

// importFlags are what the flags of import say.
type importFlags struct {
	target
	format, conflict, failures string
	streams                    int
	resume, dryRun             bool
}

func importCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "Create users from files",
		Long: "Create users from files: CSV with a header for FILE.csv, else JSON Lines; compressed ones end with .gz or\n" +
			".zst. - is standard input. The columns of a CSV are the fields user_id, email, display_name, roles (separated\n" +
			"by blanks), disabled, external_id, created_at and last_login, and attributes.NAME for attributes; the lines of\n" +
			"JSON Lines are CreateUserRequest of the schema.\n\n" +
			"--format firebase reads `firebase auth:export` (JSON), keycloak the realm export, auth0 the export of users\n" +
			"(NDJSON). The id there becomes external_id. Passwords are left out: userd has none.\n\n" +
			"Rows that fail go to a file beside the input, in its form, with the reason as the field failure. Mend them there and\n" +
			"import that file. An import that was interrupted goes on with --resume, and has every row in once. A server that is\n" +
			"away, or does not answer for 20 seconds, is waited for, for two minutes.",
		Example: "  userd import users.csv\n  userd import --on-conflict update nightly.jsonl.gz\n  userd import --dry-run --format keycloak realm.json\n  userd export | userd import --server http://other.internal:8080 -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Wrong(errors.New("userd import takes the names of files, or -"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args, cmd.OutOrStdout()) },
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "", "csv, jsonl, firebase, keycloak or auth0; else csv or jsonl, as the name of the file ends")
	flags.StringVar(&f.conflict, "on-conflict", "fail", "what a row does to a user who is there: fail, skip or update")
	flags.StringVar(&f.failures, "failures", "", "`file` for rows that fail; else FILE with .failed in its name, with --dry-run .invalid; failed.csv or failed.jsonl for standard input")
	flags.IntVar(&f.streams, "streams", 4, "calls at a time; 1 keeps the order of the rows, for files with several of one user")
	flags.BoolVar(&f.resume, "resume", false, "go on after an interruption")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check the rows by the rules of the schema, and send nothing")
	return cmd
}

func (f *importFlags) run(ctx context.Context, files []string, out io.Writer) error {
	switch {
	case conflicts[f.conflict] == 0:
		return cli.Wrong(errors.New("--on-conflict must be fail, skip or update"))
	case f.streams < 1 || f.streams > 100:
		return cli.Wrong(errors.New("--streams must be between 1 and 100"))
	case f.failures != "" && len(files) > 1:
		return cli.Wrong(errors.New("--failures is for one file"))
	}
	if err := cmp.Or(checkThere(files), f.checkPlaces(files), f.checkResume(files)); err != nil {
		return cli.Wrong(err)
	}
	users, err := f.users()
	if err != nil {
		return err
	}
	failed := 0
	for n, name := range files {
		i, err := f.open(name)
		if err != nil {
			return err
		}
		i.users = users
		err = errors.Join(f.explain(ctx, i.run(ctx)), i.close())
		if err != nil {
			return fmt.Errorf("%s: %w", name, i.interrupted(err, n > 0))
		}
		fmt.Fprintf(out, "%s: %s\n", name, i.result(f.dryRun))
		failed += i.state.Failed
	}
	if err := f.forget(files); err != nil {
		return err
	}
	if failed > 0 {
		return cli.Exit(cli.Failure, fmt.Errorf("%d rows have failed", failed))
	}
	return nil
}

// checkThere finds what is no file before any row of another one is sent.
func checkThere(files []string) error {
	for _, name := range files {
		info, err := statInput(name)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is no file", name)
		}
	}
	return nil
}

// formatOf is the format of a file.
func (f *importFlags) formatOf(name string) string {
	if f.format != "" {
		return f.format
	}
	return rows.FormatOf(name)
}

// open opens a file, where it begins or, with --resume, where an import has stopped.
func (f *importFlags) open(name string) (*fileImport, error) {
	format := f.formatOf(name)
	i := &fileImport{flags: f, conflict: conflicts[f.conflict], failuresName: f.failuresOf(name), sum: sha256.New()}
	file := os.Stdin
	size := int64(-1)
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return nil, cli.Wrong(err)
		}
		if hasPlace(name) {
			info, err := file.Stat()
			if err != nil {
				return nil, err
			}
			size = info.Size()
			i.progressName = progressOf(name)
		}
	}
	i.file = file
	if err := i.begin(newImportState(f.address, format, f.conflict, size)); err != nil {
		return nil, err
	}
	if err := i.tryFailures(); err != nil {
		return nil, err
	}
	i.shown = newProgress(size, "imported")
	in, err := rows.Decompress(name, io.TeeReader(file, i.shown))
	if err == nil {
		i.reader, err = rows.NewReader(format, in)
	}
	if err != nil {
		return nil, errors.Join(cli.Wrong(fmt.Errorf("%s: %w", name, err)), i.close())
	}
	return i, nil
}
