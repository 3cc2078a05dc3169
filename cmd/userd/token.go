package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	"github.com/example/userd/server/auth"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make tokens for callers",
		Args:  noArgs,
		RunE:  showHelp,
	}
	created := newTokenCommand()
	cmd.Example = created.Example
	cmd.AddCommand(created)
	return cmd
}

func newTokenCommand() *cobra.Command {
	var name, scopes, file string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a token, and its line for the file of --auth-file",
		Long: "Make a token, and its line for the file of serve --auth-file.\n\n" +
			"The token is printed once and kept nowhere; the line, which has only its hash, is printed below it\n" +
			"or, with --append, added to the file. A running server learns of it within a second.",
		Example: "  userd token new --name billing --scopes users.read,users.list --append auth",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return newToken(cmd.OutOrStdout(), name, scopes, file) },
	}
	cmd.Flags().StringVar(&name, "name", "", "whose token it is; several can have one name")
	cmd.Flags().StringVar(&scopes, "scopes", "", "what it is for, separated by commas: users.read, users.list, users.write, users.delete, admin")
	cmd.Flags().StringVar(&file, "append", "", "file to add the line to")
	return cmd
}

func newToken(out io.Writer, name, list, file string) error {
	if name == "" || list == "" {
		return cli.Wrong(errors.New("--name and --scopes say whose token it is, and what for"))
	}
	scopes, err := auth.ParseScopes(list)
	if err != nil {
		return cli.Wrong(fmt.Errorf("--scopes: %w", err))
	}
	token := auth.NewToken()
	line, err := auth.Line(name, token, scopes)
	if err != nil {
		return cli.Wrong(fmt.Errorf("--name: %w", err))
	}
	if file == "" {
		_, err = fmt.Fprintf(out, "%s\n%s\n", token, line)
		return err
	}
	if err := appendLine(file, line); err != nil {
		return fmt.Errorf("--append: %w", err)
	}
	_, err = fmt.Fprintln(out, token)
	return err
}

// appendLine adds a line to a file, which may be new, in one piece: a server may read it at
// any time.
func appendLine(path, line string) (err error) {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(before) > 0 && !bytes.HasSuffix(before, []byte("\n")) {
		line = "\n" + line
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err = file.WriteString(line + "\n"); err != nil {
		return err
	}
	return file.Sync()
}
