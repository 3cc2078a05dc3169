package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/cmd/userd/rows"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

func exportCommand() *cobra.Command {
	var t target
	var format string
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write all users to a file that import takes",
		Long: "Write all users to a file that import takes, oldest first: CSV for FILE.csv, else JSON Lines, compressed\n" +
			"for .gz and .zst. Without FILE, or with -, they go to standard output. Versions are not written.\n\n" +
			"A CSV needs to know all names of attributes first, so users are read twice.",
		Example: "  userd export users.csv\n  userd export users.jsonl.zst\n  userd export | userd import --server http://other.internal:8080 -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Wrong(errors.New("userd export takes the name of one file, or none"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "-"
			if len(args) == 1 {
				name = args[0]
			}
			if format == "" {
				format = rows.FormatOf(name)
			}
			if format != rows.CSV && format != rows.JSONLines {
				return cli.Wrong(errors.New("--format must be csv or jsonl"))
			}
			users, err := t.users()
			if err != nil {
				return err
			}
			return t.explain(cmd.Context(), export(cmd.Context(), users, format, name, cmd.OutOrStdout()))
		},
	}
	t.register(cmd)
	cmd.Flags().StringVar(&format, "format", "", "csv or jsonl; else as the name of the file ends")
	return cmd
}

// export writes a file, which is there when it is whole, or to out. What is there and no file,
// such as a pipe, takes what is written, and is not replaced.
func export(ctx context.Context, users userv1connect.UserServiceClient, format, name string, out io.Writer) (err error) {
	if name == "-" {
		return exportTo(ctx, users, format, name, out)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		into, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(exportTo(ctx, users, format, name, into), into.Close())
	}
	path := name
	if behind, err := filepath.EvalSymlinks(name); err == nil {
		path = behind // A link stays, and leads to the users.
	}
	part, err := createPart(path)
	if err != nil {
		return err
	}
	if err := errors.Join(exportTo(ctx, users, format, name, part), part.Sync()); err != nil {
		return errors.Join(err, part.Close(), os.Remove(part.Name()))
	}
	return become(part, path)
}

// exportTo writes all users as a file of this name holds them. What is compressed is ended only
// where it is whole: else its reader would take it for that.
func exportTo(ctx context.Context, users userv1connect.UserServiceClient, format, name string, out io.Writer) error {
	compressed, err := rows.Compress(name, out)
	if err != nil {
		return err
	}
	if err := exportRows(ctx, users, format, compressed); err != nil {
		return err
	}
	return compressed.Close()
}

func exportRows(ctx context.Context, users userv1connect.UserServiceClient, format string, out io.Writer) error {
	writer := rows.NewLineWriter(out)
	if format == rows.CSV {
		names, err := attributeNames(ctx, users)
		if err != nil {
			return err
		}
		writer = rows.NewCSVWriter(out, names)
	}
	progress := newProgress(-1, "exported")
	defer progress.end()
	err := eachUser(ctx, users, func(user *userv1.User) error {
		progress.add(1)
		return writer.Write(user)
	})
	if err != nil {
		return err
	}
	return writer.Flush()
}

// attributeNames are those that any user has.
func attributeNames(ctx context.Context, users userv1connect.UserServiceClient) ([]string, error) {
	names := make(map[string]bool)
	err := eachUser(ctx, users, func(user *userv1.User) error {
		for name := range user.GetAttributes() {
			names[name] = true
		}
		return nil
	})
	return slices.Sorted(maps.Keys(names)), err
}

// eachUser calls do with all users, oldest first.
func eachUser(ctx context.Context, users userv1connect.UserServiceClient, do func(*userv1.User) error) error {
	stream, err := users.ListUsers(ctx, &userv1.ListUsersRequest{All: true})
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	defer stream.Close()
	for {
		user, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(user); err != nil {
			return err
		}
	}
}
