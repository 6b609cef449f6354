package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fromHeader carries the input position of an output on the embedded broker:
// "GROUP TOPIC/PARTITION@OFFSET".
const fromHeader = "ebb-from"

func (e *Engine) fromValue(t tp, offset int64) []byte {
	b := make([]byte, 0, len(e.cfg.Service)+len(t.topic)+26)
	b = append(b, e.cfg.Service...)
	b = append(b, ' ')
	b = append(b, t.topic...)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(t.partition), 10)
	b = append(b, '@')
	return strconv.AppendInt(b, offset, 10)
}

// commitMetadata is the metadata of an offset commit: "ebb1", and on the
// embedded broker the ends of the output partitions, beyond which the
// outputs of the next transaction lie.
func commitMetadata(ends map[tp]int64) string {
	var b strings.Builder
	b.WriteString("ebb1")
	for _, t := range slices.SortedFunc(maps.Keys(ends), tp.compare) {
		fmt.Fprintf(&b, " %s=%d", t, ends[t])
	}
	return b.String()
}

// parseMetadata reads commitMetadata's form. Anything else gives false.
func parseMetadata(text string) (map[tp]int64, bool) {
	fields := strings.Fields(text)
	if len(fields) == 0 || fields[0] != "ebb1" {
		return nil, false
	}
	ends := map[tp]int64{}
	for _, f := range fields[1:] {
		name, offset, ok1 := strings.Cut(f, "=")
		i := strings.LastIndexByte(name, '/')
		if !ok1 || i < 0 {
			return nil, false
		}
		p, err1 := strconv.ParseInt(name[i+1:], 10, 32)
		o, err2 := strconv.ParseInt(offset, 10, 64)
		if err1 != nil || err2 != nil {
			return nil, false
		}
		ends[tp{name[:i], int32(p)}] = o
	}
	return ends, true
}

// publishedSince returns the hashes of the outputs that are published for
// records of t at or beyond the committed offset, by offset.
func (e *Engine) publishedSince(ctx context.Context, t tp, at assignment) (map[int64][]uint64, error) {
	ends, ok := parseMetadata(at.metadata)
	if !ok {
		return nil, fmt.Errorf("%w: the commit of %s has metadata %q, expected the positions of the outputs", ErrState, t, at.metadata)
	}
	from, err := clampToLog(ctx, e.adm, ends)
	if err != nil {
		return nil, err
	}
	prefix := fmt.Sprintf("%s %s@", e.cfg.Service, t)
	found := map[int64][]uint64{}
	err = e.conn.readToEnd(ctx, from, e.cfg.StallTimeout, func(r *kgo.Record) error {
		for _, h := range r.Headers {
			if h.Key != fromHeader {
				continue
			}
			text, ours := strings.CutPrefix(string(h.Value), prefix)
			if !ours {
				continue
			}
			if offset, err := strconv.ParseInt(text, 10, 64); err == nil && offset >= at.offset {
				found[offset] = append(found[offset], outputHash(r))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scan outputs: %w", err)
	}
	return found, nil
}

// clampToLog moves offsets into what the logs hold: outputs may have been
// trimmed by age, or be lost with the end of a log.
func clampToLog(ctx context.Context, adm *kadm.Client, ends map[tp]int64) (map[tp]int64, error) {
	topics := map[string]bool{}
	for t := range ends {
		topics[t.topic] = true
	}
	if len(topics) == 0 {
		return nil, nil
	}
	names := slices.Sorted(maps.Keys(topics))
	starts, err := adm.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list outputs: %w", err)
	}
	highs, err := adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list outputs: %w", err)
	}
	from := map[tp]int64{}
	for t, offset := range ends {
		s, ok1 := starts.Lookup(t.topic, t.partition)
		h, ok2 := highs.Lookup(t.topic, t.partition)
		if !ok1 || !ok2 || s.Err != nil || h.Err != nil {
			continue // the topic was deleted
		}
		from[t] = min(max(offset, s.Offset), h.Offset)
	}
	return from, nil
}
