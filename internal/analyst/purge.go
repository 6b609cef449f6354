package analyst

import (
	"context"
	"fmt"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Purge writes that hours are to be taken out of what is usual for a source,
// under the key of its events: where its state is, in one order with them.
func (c *Client) Purge(ctx context.Context, key string, p *signal.Purge) error {
	if _, err := c.partitions(ctx, topic.Network); err != nil {
		return err
	}
	value, err := p.Append(nil)
	if err != nil {
		return fmt.Errorf("encode the purge: %w", err)
	}
	return c.writeTo(ctx, topic.Network, signal.KindPurge, key, value)
}
