package cloudtrail_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// summary is what a test compares of an event.
func summary(e *event.Event) string {
	s := e.Kind.String() + " " + e.Action + " by " + e.User.ID
	switch e.Kind {
	case event.KindObject:
		out, known := e.Object.BytesOut.Get()
		s += fmt.Sprintf(" %s/%s of %s", e.Object.Bucket, e.Object.Key, e.Object.Owner)
		if known {
			s += fmt.Sprintf(" out %d", out)
		}
		if e.Object.CopySource != "" {
			s += " from " + e.Object.CopySource
		}
	default:
		s += fmt.Sprintf(" %s to %v", e.Share.Resource, e.Share.Targets)
		if e.Share.Public {
			s += " public"
		}
		if e.Share.Removed {
			s += " removed"
		}
	}
	if e.Outcome == "failure" {
		s += " failed"
	}
	return s
}

func TestStratusSamples(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"aws.defense-evasion.cloudtrail-delete":                    {"management DeleteTrail by arn:aws:iam::847129010505:user/christophe stratus-red-team-cloudtraild-trail-kvrwohmiai to []"},
		"aws.defense-evasion.cloudtrail-event-selectors":           {"management PutEventSelectors by arn:aws:iam::958312252124:user/christophe stratus-red-team-ctes-trail-khlvciwdor to []"},
		"aws.defense-evasion.cloudtrail-stop":                      {"management StopLogging by arn:aws:iam::143434273843:user/christophe stratus-red-team-ct-stop-trail-buykxbqejv to []"},
		"aws.defense-evasion.dns-delete-logs":                      {"management DeleteResolverQueryLogConfig by arn:aws:iam::206821776919:user/christophe rqlc-4473f20ca554c07 to []"},
		"aws.defense-evasion.vpc-remove-flow-logs":                 {"management DeleteFlowLogs by arn:aws:iam::498376118699:user/christophe fl-0e17aa62a21d4bbfe to []"},
		"aws.exfiltration.ec2-security-group-open-port-22-ingress": {"management AuthorizeSecurityGroupIngress by arn:aws:iam::032092706103:user/christophe sg-003dc7f1f1c686164 to []"},
		"aws.exfiltration.ec2-share-ami":                           {"share ModifyImageAttribute by arn:aws:iam::118238665043:user/christophe ami-de1fbCab6ccB03e6D to [846424999548]"},
		"aws.exfiltration.ec2-share-ebs-snapshot":                  {"share ModifySnapshotAttribute by arn:aws:iam::756680937392:user/christophe snap-041993b54a9b3af6f to [098797384747]"},
		"aws.exfiltration.rds-share-snapshot":                      {"share ModifyDBSnapshotAttribute by arn:aws:iam::171471557522:user/christophe exfiltration to [503161813013]"},
	}
	paths, _ := filepath.Glob(filepath.Join(decodetest.Sample(t, "cloudtrail", "stratus"), "*.json"))
	for _, path := range paths {
		in, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var records []json.RawMessage
		if err := json.Unmarshal(in, &records); err != nil {
			t.Fatal(err)
		}
		var got []string
		r := decodetest.New(t)
		r.Each = func(e *event.Event) { got = append(got, strings.Clone(summary(e))) }
		readAll(t, bytes.NewReader(in), r)
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if r.Events != len(records) {
			t.Errorf("%s: %d events of %d records, dead %v", name, r.Events, len(records), r.Deads)
		}
		if w, ok := want[name]; ok {
			if d := cmp.Diff(w, got); d != "" {
				t.Errorf("%s:\n%s", name, d)
			}
		}
	}
	if len(paths) < 10 {
		t.Errorf("only %d files", len(paths))
	}
}

// lines yields the lines of an NDJSON sample file.
func sampleLines(t *testing.T, name string, each func(line []byte)) {
	t.Helper()
	f, err := os.Open(decodetest.Sample(t, "cloudtrail", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Bytes())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
}

func TestPantherSamples(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"S3 CopyObject to External Account Bucket":  "object CopyObject by arn:aws:iam::12948575929274:role/sample-role-keen-cohen attacker-exfil-1764604156/customer-database.csv of 111111111111 from ransomware-test-victim-1764604156/customer-database.csv",
		"S3 CopyObject Same Account":                "object CopyObject by arn:aws:iam::12948575929274:role/AdminRole my-source-bucket/data.csv of 12948575929274 from my-source-bucket/data.csv",
		"Snapshot Made Publicly Accessible":         "share ModifySnapshotAttribute by arn:aws:iam::123456789012:role/example-role snap-1111 to [] public",
		"Snapshot Not Made Publicly Accessible":     "share ModifySnapshotAttribute by arn:aws:iam::123456789012:role/example-role snap-1111 to []",
		"Error Making Snapshot Publicly Accessible": "share ModifySnapshotAttribute by arn:aws:iam::123456789012:role/example-role snap-1111 to [] public failed",
		"Snapshot Mader Available to Single Person": "share ModifySnapshotAttribute by arn:aws:iam::123456789012:role/example-role snap-1111 to [111122223333]",
		"Snapshot shared with another account":      "share ModifyDBSnapshotAttribute by arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/us-west-2/AWSReservedSSO_DevAdmin_635426549a280cc6 exfiltration to [193672423079]",
		"Snapshot shared with no accounts":          "share ModifyDBSnapshotAttribute by arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/us-west-2/AWSReservedSSO_DevAdmin_635426549a280cc6 exfiltration to []",
		"S3 Bucket Policy Modified":                 "share PutBucketAcl by arn:aws:iam::123456789012:role/tester bucket to []",
		"VPC Endpoint Access Denied":                "object GetObject by 111111111111/AROAEXAMPLE example-bucket/sensitive-file.txt of  failed",
		"Match - Bucket Logging Disabled":           "management PutBucketLogging by arn:aws:iam::111111111111:role/sample-role-dreamy-yonath critical-data-bucket to []",
		"No Match - Bucket Logging Enabled":         "management PutBucketLogging by arn:aws:iam::111111111111:role/sample-role-dreamy-yonath critical-data-bucket to [arn:aws:s3:::logging-bucket]",
		"Password Discovery ARN":                    "management GetAccountPasswordPolicy by arn:aws:test_arn  to []",
		"Normal EC2 Workload From Private IP":       "object PutObject by arn:aws:iam::123456789012:role/MyAppRole / of ",
		"Snapshot Copied Cross-Region":              "management CopyDBSnapshot by arn:aws:iam::123456789012:role/DeveloperRole arn:aws:rds:us-east-1:123456789012:snapshot:prod-backup-2024 to []",
	}
	r := decodetest.New(t)
	d := cloudtrail.New()
	var last string
	r.Each = func(e *event.Event) { last = strings.Clone(summary(e)) }
	lines := 0
	sampleLines(t, "panther_aws_cloudtrail_rules_handover.ndjson", func(line []byte) {
		lines++
		var doc struct {
			Test  string
			Event json.RawMessage
		}
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		last = ""
		d.Line(doc.Event, event.Origin{Line: event.N(lines)}, r)
		if w, ok := want[doc.Test]; ok {
			if last != w {
				t.Errorf("%s:\n got %s\nwant %s", doc.Test, last, w)
			}
			delete(want, doc.Test)
		}
	})
	// Six of the vendor's unit-test events have no eventTime.
	if r.Total() != lines || lines != 212 || r.Events != lines-6 || r.Deads["missing_field"] != 6 {
		t.Errorf("%d lines: %d events, dead %v", lines, r.Events, r.Deads)
	}
	if len(want) > 0 {
		t.Errorf("not in the sample: %v", want)
	}
	r = decodetest.New(t)
	sampleLines(t, "panther_aws_s3_rules_handover.ndjson", func(line []byte) { // S3 access logs
		var doc struct{ Event json.RawMessage }
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		d.Line(doc.Event, event.Origin{}, r)
	})
	if r.Deads["unknown_format"] != 13 || r.Total() != 13 {
		t.Errorf("%d outcomes, dead %v", r.Total(), r.Deads)
	}
}

func TestSplunkSamples(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"aws_cloudtrail_copyobject":              "object CopyObject by arn:aws:iam::111111111111:user/patrick_cli patricktestbucketencrypt/kms_aws_events_encrypted.json of 111111111111 from patricktestbucketencrypt/kms_aws_events.json",
		"aws_cloudtrail_getobject":               "object GetObject by arn:aws:iam::111111111111:user/console security-content/stories/windows_discovery_techniques.yml of 111111111111 out 1136",
		"aws_cloudtrail_jobcreated":              "management JobCreated by s3.amazonaws.com bb54efd8-937d-4f0c-967d-aa8443998dac to []",
		"aws_cloudtrail_modifyimageattribute":    "share ModifyImageAttribute by arn:aws:iam::111111111111:role/aws-reserved/sso.amazonaws.com/us-west-2/AWSReservedSSO_SPLKAdministratorAccess_d9ce1347d0a6dd3f ami-06dac31db29508566 to [140429656527]",
		"aws_cloudtrail_modifysnapshotattribute": "share ModifySnapshotAttribute by arn:aws:iam::111111111111:user/bhavin_console snap-02effb3bb62786b18 to [012345678912]",
		"aws_cloudtrail_putbucketacl":            "share PutBucketAcl by arn:aws:iam::111111111111:user/patrick_cli patricktestbucket19 to [] public",
		"aws_cloudtrail_putbucketreplication":    "share PutBucketReplication by arn:aws:iam::111111111111:role/aws-reserved/sso.amazonaws.com/us-west-2/AWSReservedSSO_SPLKAdministratorAccess_d9ce1347d0a6dd3f git-wild-hunt-results to [arn:aws:s3:::badpublicbuckettest]",
		"aws_cloudtrail_putkeypolicy":            "share PutKeyPolicy by arn:aws:iam::111111111111:role/okta_adm_role f2a82583-a7d3-4c92-8787-fe2baab1cee1 to [] public",
		"aws_cloudtrail_assumerolewithsaml":      "management AssumeRoleWithSAML by ZRu9MRAjiG9tvi1QBNfdI664G5A=:rodsoto@rodsoto.onmicrosoft.com arn:aws:iam::111111111111:role/rodonmicrotestrole to []",
		"aws_cloudtrail_deactivatemfadevice":     "management DeactivateMFADevice by arn:aws:iam::111111111111:root AWS ROOT USER to []",
	}
	r := decodetest.New(t)
	var last string
	r.Each = func(e *event.Event) { last = strings.Clone(summary(e)) }
	lines, foreign := 0, 0
	sampleLines(t, "splunk_data_source_examples.ndjson", func(line []byte) {
		lines++
		var doc struct {
			Source string `json:"data_source"`
			Log    string `json:"example_log"`
		}
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(doc.Source, "aws_cloudtrail") && !strings.HasPrefix(doc.Source, "asl_") {
			foreign++ // flow logs, Falco text
		}
		last = ""
		readAll(t, strings.NewReader(doc.Log), r)
		if w, ok := want[doc.Source]; ok && last != w {
			t.Errorf("%s:\n got %s\nwant %s", doc.Source, last, w)
		}
	})
	if lines != 50 || r.Total() != lines || r.Lost != foreign || foreign == 0 {
		t.Errorf("%d lines, %d foreign: %d events, ignored %v, dead %v", lines, foreign, r.Events, r.Ignores, r.Deads)
	}
}

// None of the envelopes that others wrap their records in is taken for a
// record of CloudTrail, and none vanishes.
func TestEnvelopeSamples(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"aws_cloudwatch-logs-event.json":  "map[] map[unknown_format:1]", // packed: ingest unpacks it
		"aws_kafka-event.json":            "map[] map[unknown_format:1]",
		"aws_kinesis-event.json":          "map[] map[unknown_format:2]",
		"aws_kinesis-firehose-event.json": "map[] map[unknown_format:1]",
		"aws_s3-event.json":               "map[s3_notification:1] map[]",
		"aws_s3-event-with-decoded.json":  "map[s3_notification:1] map[]",
		"aws_sns-event.json":              "map[] map[unknown_format:1]",
		"aws_sqs-event.json":              "map[] map[unknown_format:1]",
		"cloudtrail_sns_message.json":     "map[announcement:1] map[]",
	} {
		in, err := os.ReadFile(decodetest.Sample(t, "envelopes", name))
		if err != nil {
			t.Fatal(err)
		}
		r := decodetest.New(t)
		readAll(t, bytes.NewReader(in), r)
		if got := fmt.Sprint(r.Ignores, r.Deads); got != want || r.Events > 0 {
			t.Errorf("%s: %d events, %s; want %s", name, r.Events, got, want)
		}
	}
}
