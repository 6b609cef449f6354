package gcp

import (
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const bigQuery = "bigquery.googleapis.com"

// bigQuery maps an entry of BigQuery (formats.md §6.1): the read of a table is
// access to an object, whose bucket is PROJECT.DATASET and whose key is the
// table; an extract and a copy are management calls with where they go.
func (d *Decoder) bigQuery(a *auditLog, resource string) result {
	e := &d.ev
	if rawjson.IsObject(a.OldBigQuery) || rawjson.IsObject(a.ServiceData) && strings.HasPrefix(e.Action, "jobservice.") ||
		rawjson.IsObject(a.ServiceData) && strings.HasPrefix(e.Action, "tabledataservice.") {
		return result{ignored: ignoredOldForm}
	}
	m := a.Metadata
	switch {
	case rawjson.IsObject(rawjson.Get(m, "tableDataRead")):
		e.Kind = event.KindObject
		e.Action = "bigquery.tables.getData"
		project, dataset, table := tableOf(resource)
		e.Object.Bucket, e.Object.Key, e.Object.Owner = project+"."+dataset, table, project
		return result{}
	case d.policy(a):
		e.Kind = event.KindShare
		e.Share.Resource = resource
		return result{}
	}
	e.Kind = event.KindManagement
	e.Share.Resource = resource
	job := rawjson.Get(m, "jobChange", "job")
	if !rawjson.IsObject(job) {
		job = rawjson.Get(m, "jobInsertion", "job")
	}
	config := rawjson.Get(job, "jobConfig")
	if x := rawjson.Get(config, "extractConfig"); rawjson.IsObject(x) {
		e.Action = "bigquery.jobs.extract"
		e.Share.Resource = first(rawjson.Text(rawjson.Get(x, "sourceTable")), resource)
		for uri := range rawjson.Each(rawjson.Get(x, "destinationUris")) {
			d.target(bucketOf(rawjson.Text(uri)))
		}
		return result{}
	}
	if c := rawjson.Get(config, "tableCopyConfig"); rawjson.IsObject(c) {
		e.Action = "bigquery.jobs.copy"
		for t := range rawjson.Each(rawjson.Get(c, "sourceTables")) {
			e.Share.Resource = first(rawjson.Text(t), resource)
			break
		}
		d.target(projectOf(rawjson.Text(rawjson.Get(c, "destinationTable"))))
		return result{}
	}
	if q := rawjson.Get(config, "queryConfig"); rawjson.IsObject(q) {
		d.target(projectOf(rawjson.Text(rawjson.Get(q, "destinationTable"))))
	}
	return result{}
}

// tableOf splits projects/P/datasets/D/tables/T.
func tableOf(resource string) (project, dataset, table string) {
	project = projectOf(resource)
	if _, rest, ok := strings.Cut(resource, "/datasets/"); ok {
		dataset, rest, _ = strings.Cut(rest, "/")
		table = strings.TrimPrefix(rest, "tables/")
	}
	return project, dataset, table
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
