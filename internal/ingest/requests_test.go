package ingest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Alerts over HTTP are answered once they are committed.
func TestWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := quick()
	cfg.Sources = nil
	cfg.Webhook.Listen, cfg.Webhook.Token, cfg.Webhook.Name = "127.0.0.1:0", "secret", "falco"
	r := w.start("ingest-falco", cfg, false)
	<-r.svc.Ready()
	url := "http://" + r.svc.WebhookAddr()
	post := func(body, token string) int {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	alert := func(n int) string {
		return fmt.Sprintf(`{"hostname":"n","priority":"Notice","rule":"r","time":"2026-01-05T10:00:00.%09dZ","output_fields":{"proc.name":"scp"}}`, n)
	}
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if status := post(alert(n), "secret"); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
	}
	wg.Wait()
	// 200 means committed: whoever looks now sees them all.
	if got := len(w.events(topic.Host)); got != 50 {
		t.Errorf("%d events after 50 answers", got)
	}
	for body, want := range map[string]int{
		"{broken": http.StatusBadRequest, "10:00:00.000000001: Notice text form": http.StatusBadRequest, "": http.StatusOK,
	} {
		if status := post(body, "secret"); status != want {
			t.Errorf("%q: status %d, want %d", body, status, want)
		}
	}
	if status := post(alert(99), "wrong"); status != http.StatusUnauthorized {
		t.Errorf("wrong token: status %d", status)
	}
	dead := 0
	for _, rec := range w.read(topic.DeadLetter) {
		if !rec.control {
			dead++
		}
	}
	if dead != 2 {
		t.Errorf("%d dead letters", dead)
	}
	r.stop()
	if marks := w.marks(topic.Host); len(marks) == 0 || !marks[len(marks)-1].Closing || marks[len(marks)-1].Sources[0].Promise {
		t.Errorf("marks %+v", marks)
	}
}

// Pipelines announce deployment windows: committed when it answers, under the
// correlation domain; what is refused says why and leaves nothing behind.
func TestDeploymentWindows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := quick()
	cfg.Sources = nil
	cfg.Webhook.Listen, cfg.Webhook.Token, cfg.Webhook.Domain = "127.0.0.1:0", "secret", "org"
	r := w.start("ingest-falco", cfg, false)
	<-r.svc.Ready()
	post := func(body, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+r.svc.WebhookAddr()+"/deployments", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	now := time.Now().Truncate(time.Second)
	window := func(length time.Duration) string {
		return fmt.Sprintf(`{"namespace":"shop","from":%q,"until":%q,"by":"ci","why":"release 7"}`, now.Format(time.RFC3339), now.Add(length).Format(time.RFC3339))
	}
	for _, tc := range []struct {
		body, token string
		status      int
		text        string
	}{
		{window(15 * time.Minute), "wrong", http.StatusUnauthorized, "token"},
		{window(31 * time.Minute), "secret", http.StatusBadRequest, "until: not within 30m"},
		{"{broken", "secret", http.StatusBadRequest, "not a deployment window"},
		{strings.Repeat(" ", 9<<10), "secret", http.StatusRequestEntityTooLarge, "8192"},
		{window(15 * time.Minute), "secret", http.StatusOK, "committed"},
		{window(2 * time.Minute), "secret", http.StatusOK, "committed"}, // ended early
	} {
		if status, text := post(tc.body, tc.token); status != tc.status || !strings.Contains(text, tc.text) {
			t.Errorf("%.80s: status %d %q, wanted %d %q", tc.body, status, text, tc.status, tc.text)
		}
	}
	var got []signal.Deployment
	for _, rec := range w.read(topic.Signals) {
		if rec.control {
			continue
		}
		var d signal.Deployment
		if err := signal.DecodeDeployment(rec.value, &d); err != nil || rec.kind != signal.KindDeployment || rec.key != "org" {
			t.Errorf("%v %s %s %s", err, rec.kind, rec.key, rec.value)
		}
		got = append(got, d)
	}
	want := signal.Deployment{Kind: signal.KindDeployment, V: signal.Version, Namespace: "shop", From: now.UnixMicro(), Until: now.Add(15 * time.Minute).UnixMicro(), By: "ci", Why: "release 7"}
	ended := want
	ended.Until = now.Add(2 * time.Minute).UnixMicro()
	if d := cmp.Diff([]signal.Deployment{want, ended}, got); d != "" {
		t.Error(d)
	}
	r.stop()
	for _, rec := range w.read(topic.DeadLetter) {
		if !rec.control {
			t.Errorf("a dead letter: %s", rec.value)
		}
	}
}

// A commit that fails is answered with 503, and the service ends.
func TestWebhookWithoutCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := quick()
	cfg.Sources = nil
	cfg.Webhook.Listen = "127.0.0.1:0"
	cfg.MarkInterval = time.Hour
	r := w.start("ingest-falco", cfg, false)
	<-r.svc.Ready()
	until(t, "the first mark", func() bool { return len(w.marks(topic.Host)) > 0 })
	w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		res := req.ResponseKind().(*kmsg.EndTxnResponse)
		res.ErrorCode = kerr.UnknownServerError.Code
		return res, nil, true
	})
	res, err := http.Post("http://"+r.svc.WebhookAddr(), "application/json",
		strings.NewReader(`{"hostname":"n","priority":"Notice","rule":"r","time":"2026-01-05T10:00:00Z","output_fields":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", res.StatusCode)
	}
	if err := r.wait(); err == nil {
		t.Error("the service goes on after a commit of unknown outcome")
	}
}
