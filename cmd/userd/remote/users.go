package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// command is what all commands of this package have.
type command struct {
	target
	json bool
}

func (c *command) register(cmd *cobra.Command) {
	c.target.register(cmd)
	cmd.Flags().BoolVar(&c.json, "json", false, "write JSON, a message a line")
}

// run makes a client and a printer, calls do with them, and explains what goes wrong.
func (c *command) run(cmd *cobra.Command, do func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error) error {
	users, err := c.users()
	if err != nil {
		return err
	}
	out := newPrinter(cmd.OutOrStdout(), c.json)
	err = do(cmd.Context(), users, out)
	return errors.Join(c.explain(cmd.Context(), err), out.flush())
}

func getCommand() *cobra.Command {
	var c command
	var external bool
	cmd := &cobra.Command{
		Use:     "get ID|EMAIL",
		Short:   "Show a user",
		Example: "  userd get ada@example.com\n  userd get 7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d --json\n  userd get --external-id 'https://issuer.example.com|4711'",
		Args:    exactly(1, "one id or email address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error {
				user, err := find(ctx, users, args[0], external)
				if err != nil {
					return err
				}
				return out.user(user)
			})
		},
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&external, "external-id", false, "what is given is the user's id elsewhere")
	return cmd
}

// find reads a user by what is known of them.
func find(ctx context.Context, users userv1connect.UserServiceClient, key string, external bool) (user *userv1.User, err error) {
	switch {
	case external:
		var response *userv1.GetUserByExternalIdResponse
		response, err = users.GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{ExternalId: key})
		user = response.GetUser()
	case strings.Contains(key, "@"):
		var response *userv1.GetUserByEmailResponse
		response, err = users.GetUserByEmail(ctx, &userv1.GetUserByEmailRequest{Email: key})
		user = response.GetUser()
	default:
		var response *userv1.GetUserResponse
		response, err = users.GetUser(ctx, &userv1.GetUserRequest{UserId: key})
		user = response.GetUser()
	}
	if err == nil && user == nil {
		return nil, fmt.Errorf("there is no user %s", printable(key))
	}
	return user, err
}

// idOf is the id of a user who is named by id or email address.
func idOf(ctx context.Context, users userv1connect.UserServiceClient, key string) (string, error) {
	if !strings.Contains(key, "@") {
		return key, nil
	}
	user, err := find(ctx, users, key, false)
	return user.GetId(), err
}

func listCommand() *cobra.Command {
	var c command
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List users, oldest first",
		Example: "  userd list --limit 20\n  userd list --json | wc -l",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLimit(limit); err != nil {
				return cli.Wrong(err)
			}
			return c.run(cmd, func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error {
				return list(ctx, users, limit, out)
			})
		},
	}
	c.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "most users to list; 0 for all")
	return cmd
}

// checkLimit checks how many users are wanted, 0 for all.
func checkLimit(limit int) error {
	if limit < 0 {
		return fmt.Errorf("--limit must be at least 0, not %d", limit)
	}
	return nil
}

func list(ctx context.Context, users userv1connect.UserServiceClient, limit int, out *printer) error {
	stream, err := users.ListUsers(ctx, &userv1.ListUsersRequest{All: true})
	if err != nil {
		return err
	}
	defer stream.Close()
	for n := 0; limit == 0 || n < limit; n++ {
		user, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.row(user); err != nil {
			return err
		}
	}
	return nil
}
