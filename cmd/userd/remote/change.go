package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

func createCommand() *cobra.Command {
	var c command
	var request userv1.CreateUserRequest
	var attributes []string
	cmd := &cobra.Command{
		Use:     "create --email EMAIL --name NAME",
		Short:   "Create a user",
		Example: "  userd create --email ada@example.com --name 'Ada Lovelace' --role admin --attribute tenant=acme",
		Args:    exactly(0, "flags only; a value with blanks needs quotes"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if request.Email == "" || request.DisplayName == "" {
				return cli.Wrong(errors.New("--email and --name say who it is"))
			}
			if request.Attributes, err = pairs("--attribute", attributes); err != nil {
				return cli.Wrong(err)
			}
			return c.run(cmd, func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error {
				created, err := users.CreateUser(ctx, &request)
				if err != nil {
					return err
				}
				return out.user(created.GetUser())
			})
		},
	}
	c.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&request.UserId, "id", "", "`UUID` of the new user; else the server makes one")
	flags.StringVar(&request.Email, "email", "", "email address")
	flags.StringVar(&request.DisplayName, "name", "", "display name")
	flags.StringSliceVar(&request.Roles, "role", nil, "`roles`, separated by commas")
	flags.StringVar(&request.ExternalId, "external-id", "", "the user's id elsewhere")
	flags.StringArrayVar(&attributes, "attribute", nil, "an attribute, `NAME=VALUE`; may come several times")
	flags.BoolVar(&request.Disabled, "disabled", false, "create a user who may not be used")
	return cmd
}

type update struct {
	email, name, externalID string
	disabled                bool
	version                 int64
	attributes              []string
	change                  userv1.UserUpdate
}

func updateCommand() *cobra.Command {
	var c command
	var u update
	cmd := &cobra.Command{
		Use:     "update ID|EMAIL",
		Short:   "Change what the flags name of a user",
		Example: "  userd update ada@example.com --name 'Ada King' --add-role billing --remove-role admin\n  userd update ada@example.com --disabled --expected-version 4",
		Args:    exactly(1, "one id or email address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := u.settle(cmd); err != nil {
				return cli.Wrong(err)
			}
			return c.run(cmd, func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) (err error) {
				if u.change.UserId, err = idOf(ctx, users, args[0]); err != nil {
					return err
				}
				updated, err := users.UpdateUser(ctx, &userv1.UpdateUserRequest{Update: &u.change})
				if err != nil {
					return err
				}
				return out.user(updated.GetUser())
			})
		},
	}
	c.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&u.email, "email", "", "new email address")
	flags.StringVar(&u.name, "name", "", "new display name")
	flags.StringSliceVar(&u.change.AddRoles, "add-role", nil, "`roles` to add, separated by commas")
	flags.StringSliceVar(&u.change.RemoveRoles, "remove-role", nil, "`roles` to remove, separated by commas")
	flags.StringVar(&u.externalID, "external-id", "", "new id elsewhere; \"\" removes it")
	flags.StringArrayVar(&u.attributes, "set-attribute", nil, "an attribute to set, `NAME=VALUE`; may come several times")
	flags.StringArrayVar(&u.change.RemoveAttributes, "remove-attribute", nil, "`name` of an attribute to remove; may come several times")
	flags.BoolVar(&u.disabled, "disabled", false, "whether the user may not be used; =false makes it usable again")
	flags.Int64Var(&u.version, "expected-version", 0, "change the user only at this `version`")
	return cmd
}

// settle takes what the flags say into the change.
func (u *update) settle(cmd *cobra.Command) (err error) {
	flags := cmd.Flags()
	for flag, to := range map[string]struct {
		from *string
		to   **string
	}{"email": {&u.email, &u.change.Email}, "name": {&u.name, &u.change.DisplayName}, "external-id": {&u.externalID, &u.change.ExternalId}} {
		if flags.Changed(flag) {
			*to.to = to.from
		}
	}
	if flags.Changed("disabled") {
		u.change.Disabled = &u.disabled
	}
	if flags.Changed("expected-version") {
		u.change.ExpectedVersion = &u.version
	}
	u.change.SetAttributes, err = pairs("--set-attribute", u.attributes)
	return err
}

func deleteCommand() *cobra.Command {
	var c command
	var version int64
	cmd := &cobra.Command{
		Use:     "delete ID|EMAIL",
		Short:   "Delete a user for good",
		Example: "  userd delete ada@example.com\n  userd delete 7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d --expected-version 4",
		Args:    exactly(1, "one id or email address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error {
				id, err := idOf(ctx, users, args[0])
				if err != nil {
					return err
				}
				request := &userv1.DeleteUserRequest{UserId: id}
				if cmd.Flags().Changed("expected-version") {
					request.ExpectedVersion = &version
				}
				deleted, err := users.DeleteUser(ctx, request)
				if err != nil {
					return err
				}
				return out.deleted(&userv1.DeletedUser{UserId: id, Version: deleted.GetVersion()})
			})
		},
	}
	c.register(cmd)
	cmd.Flags().Int64Var(&version, "expected-version", 0, "delete the user only at this `version`")
	return cmd
}

// deleted writes what remains of a user.
func (p *printer) deleted(user *userv1.DeletedUser) error {
	if p.json {
		return p.message(user)
	}
	_, err := fmt.Fprintf(p.out, "deleted %s at version %s\n", user.GetUserId(), strconv.FormatInt(user.GetVersion(), 10))
	return err
}
