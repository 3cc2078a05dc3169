package remote

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
)

// How long a watch waits before it connects again: twice as long each time.
const (
	firstWait = 250 * time.Millisecond
	mostWait  = 10 * time.Second
)

func watchCommand() *cobra.Command {
	var c command
	var cursor string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the changes of users until it is interrupted",
		Long: "Follow the changes of users until it is interrupted, also while the server starts again. A connection on which the\n" +
			"server does not answer for 20 seconds counts as lost.\n\n" +
			"With --json each line is a message of WatchUsers, with the cursor from which --cursor goes on.",
		Example: "  userd watch\n  userd watch --cursor earliest --json",
		Args:    exactly(0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd, func(ctx context.Context, users userv1connect.UserServiceClient, out *printer) error {
				return watch(ctx, users, cursor, out)
			})
		},
	}
	c.register(cmd)
	cmd.Flags().StringVar(&cursor, "cursor", "", "where to begin: \"\" from now, earliest, or the cursor of an earlier watch")
	return cmd
}

// watch follows changes from a cursor on. It connects again where it has been connected.
func watch(ctx context.Context, users userv1connect.UserServiceClient, cursor string, out *printer) error {
	connected := false
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		err := follow(ctx, users, &cursor, out, func() { connected, wait = true, firstWait })
		if !connected || ctx.Err() != nil || !passing(err) {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause waits, or returns the error of a context that has ended.
func pause(ctx context.Context, wait time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// follow writes changes as long as one stream lasts, and keeps the cursor of the last.
func follow(ctx context.Context, users userv1connect.UserServiceClient, cursor *string, out *printer, received func()) error {
	stream, err := users.WatchUsers(ctx, &userv1.WatchUsersRequest{Cursor: *cursor})
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		message, err := stream.Receive()
		if err != nil {
			return err
		}
		received()
		*cursor = message.GetCursor()
		if err := out.changes(message); err != nil {
			return err
		}
	}
}

var changeColumns = []string{"CHANGE", "ID", "VERSION", "EMAIL", "NAME"}

// changes writes the events of a message at once.
func (p *printer) changes(message *userv1.WatchUsersResponse) error {
	if p.json {
		return p.message(message)
	}
	for _, event := range message.GetEvents() {
		cells := []string{"deleted", event.GetDeleted().GetUserId(), strconv.FormatInt(event.GetDeleted().GetVersion(), 10), "", ""}
		if user := event.GetUpserted(); user != nil {
			cells = []string{"changed", user.GetId(), strconv.FormatInt(user.GetVersion(), 10), user.GetEmail(), user.GetDisplayName()}
		}
		if err := p.line(changeColumns, cells...); err != nil {
			return err
		}
	}
	return p.flush()
}
