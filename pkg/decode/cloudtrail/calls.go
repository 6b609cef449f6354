package cloudtrail

// callKey names a call, without the version of its API.
type callKey struct{ service, name string }

// call says what of a call's parameters matters (formats.md §5.7).
type call struct {
	// share marks a call that gives or takes access. One whose parameters
	// hold none of give and take is a management call like any other.
	share bool
	// resource are the paths of what the call is about, the best first.
	resource []string
	// give and take are where to look for those who gain or lose access. Of
	// a call that is no share, give is where its data goes.
	give, take []grant
	// revokes marks a call that takes access away whatever its parameters.
	revokes bool
}

// grant is a place in the parameters that says who.
type grant struct {
	// path are the keys down to it, with dots between; lists on the way are
	// followed into each element.
	path string
	form form
	// when is empty or "PATH=VALUE", without which the place means
	// something else.
	when string
}

// form is how a place says who.
type form uint8

const (
	principals  form = iota // accounts, arns, "*", "all", services
	members                 // objects with userId, group, organizationArn, organizationalUnitArn
	policy                  // a policy document, as object or as text
	bucket                  // name or arn of a bucket
	endpoint                // address of an SNS subscription
	acl                     // the parameters of an S3 ACL call
	permission              // the parameters of Lambda's AddPermission
	replication             // a bucket, or better the account that owns it, in one object
)

func shares(resource string, give ...grant) call {
	return call{share: true, resource: []string{resource}, give: give}
}

func revokes(resource string) call {
	return call{share: true, resource: []string{resource}, revokes: true}
}

func moves(resource string, to ...grant) call {
	return call{resource: []string{resource}, give: to}
}

func (c call) taking(take ...grant) call {
	c.take = take
	return c
}

func (c call) or(resource ...string) call {
	c.resource = append(c.resource, resource...)
	return c
}

// calls are those whose parameters are read. Those marked [U] are from API
// documentation, not from a record that we saw.
var calls = map[callKey]call{
	{"ec2.amazonaws.com", "ModifySnapshotAttribute"}: shares("snapshotId", grant{path: "createVolumePermission.add.items", form: members}).
		taking(grant{path: "createVolumePermission.remove.items", form: members}),
	{"ec2.amazonaws.com", "ModifyImageAttribute"}: shares("imageId", grant{path: "launchPermission.add.items", form: members}).
		taking(grant{path: "launchPermission.remove.items", form: members}),
	{"ec2.amazonaws.com", "ResetSnapshotAttribute"}:   revokes("snapshotId"),
	{"ec2.amazonaws.com", "ResetImageAttribute"}:      revokes("imageId"),
	{"ec2.amazonaws.com", "CreateInstanceExportTask"}: moves("instanceId", grant{path: "exportToS3.s3Bucket", form: bucket}),
	{"ec2.amazonaws.com", "ExportImage"}:              moves("imageId", grant{path: "s3ExportLocation.s3Bucket", form: bucket}),
	{"ec2.amazonaws.com", "CreateStoreImageTask"}:     moves("imageId", grant{path: "bucket", form: bucket}),
	{"ec2.amazonaws.com", "CreateFlowLogs"}:           moves("resourceId.content", grant{path: "logDestination", form: bucket}).or("resourceIds", "resourceId"),
	{"ec2.amazonaws.com", "DeleteFlowLogs"}:           moves("flowLogId.content").or("flowLogIds", "flowLogId"),
	{"ec2.amazonaws.com", "CopySnapshot"}:             moves("sourceSnapshotId"),
	{"ec2.amazonaws.com", "CopyImage"}:                moves("sourceImageId"),

	{"rds.amazonaws.com", "ModifyDBSnapshotAttribute"}:        shareDBSnapshot("dBSnapshotIdentifier"),
	{"rds.amazonaws.com", "ModifyDBClusterSnapshotAttribute"}: shareDBSnapshot("dBClusterSnapshotIdentifier"),
	{"rds.amazonaws.com", "StartExportTask"}:                  moves("sourceArn", grant{path: "s3BucketName", form: bucket}),
	{"rds.amazonaws.com", "CopyDBSnapshot"}:                   moves("sourceDBSnapshotIdentifier"),
	{"rds.amazonaws.com", "CopyDBClusterSnapshot"}:            moves("sourceDBClusterSnapshotIdentifier"),

	{"s3.amazonaws.com", "PutBucketPolicy"}:         shares("bucketName", grant{path: "bucketPolicy", form: policy}, grant{path: "policy", form: policy}),
	{"s3.amazonaws.com", "DeleteBucketPolicy"}:      revokes("bucketName"),
	{"s3.amazonaws.com", "PutBucketAcl"}:            shares("bucketName", grant{form: acl}),
	{"s3.amazonaws.com", "PutObjectAcl"}:            shares("bucketName", grant{form: acl}),
	{"s3.amazonaws.com", "PutBucketReplication"}:    shares("bucketName", grant{path: "ReplicationConfiguration.Rule.Destination", form: replication}),
	{"s3.amazonaws.com", "DeleteBucketReplication"}: revokes("bucketName"),
	{"s3.amazonaws.com", "PutAccessPointPolicy"}: shares("bucketName", grant{path: "policy", form: policy},
		grant{path: "PutAccessPointPolicyRequest.Policy", form: policy}).or("name"), // [U]
	{"s3.amazonaws.com", "PutBucketLogging"}: moves("bucketName", grant{path: "BucketLoggingStatus.LoggingEnabled.TargetBucket", form: bucket}),
	{"s3.amazonaws.com", "PutBucketInventoryConfiguration"}: moves("bucketName",
		grant{path: "InventoryConfiguration.Destination.S3BucketDestination", form: replication}), // [U]

	{"kms.amazonaws.com", "PutKeyPolicy"}: shares("keyId", grant{path: "policy", form: policy}),
	{"kms.amazonaws.com", "CreateKey"}:    shares("keyId", grant{path: "policy", form: policy}),
	{"kms.amazonaws.com", "CreateGrant"}:  shares("keyId", grant{path: "granteePrincipal", form: principals}),
	{"kms.amazonaws.com", "RevokeGrant"}:  revokes("keyId"),
	{"kms.amazonaws.com", "RetireGrant"}:  revokes("keyId"),

	{"ecr.amazonaws.com", "SetRepositoryPolicy"}:    shares("repositoryName", grant{path: "policyText", form: policy}),
	{"ecr.amazonaws.com", "DeleteRepositoryPolicy"}: revokes("repositoryName"),
	{"ecr.amazonaws.com", "PutRegistryPolicy"}:      shares("registryId", grant{path: "policyText", form: policy}), // [U]
	{"ecr.amazonaws.com", "PutReplicationConfiguration"}: shares("registryId",
		grant{path: "replicationConfiguration.rules.destinations.registryId", form: principals}), // [U]

	{"lambda.amazonaws.com", "AddPermission"}:                shares("functionName", grant{form: permission}),
	{"lambda.amazonaws.com", "RemovePermission"}:             revokes("functionName"),
	{"lambda.amazonaws.com", "AddLayerVersionPermission"}:    shares("layerName", grant{form: permission}),
	{"lambda.amazonaws.com", "RemoveLayerVersionPermission"}: revokes("layerName"),

	{"ram.amazonaws.com", "CreateResourceShare"}:       shares("resourceArns", grant{path: "principals", form: principals}).or("name"),
	{"ram.amazonaws.com", "AssociateResourceShare"}:    shares("resourceShareArn", grant{path: "principals", form: principals}),
	{"ram.amazonaws.com", "DisassociateResourceShare"}: shares("resourceShareArn").taking(grant{path: "principals", form: principals}),
	{"ram.amazonaws.com", "DeleteResourceShare"}:       revokes("resourceShareArn"),

	{"secretsmanager.amazonaws.com", "PutResourcePolicy"}:    shares("secretId", grant{path: "resourcePolicy", form: policy}),
	{"secretsmanager.amazonaws.com", "DeleteResourcePolicy"}: revokes("secretId"),

	{"redshift.amazonaws.com", "AuthorizeSnapshotAccess"}: shares("snapshotIdentifier", grant{path: "accountWithRestoreAccess", form: principals}),
	{"redshift.amazonaws.com", "RevokeSnapshotAccess"}:    shares("snapshotIdentifier").taking(grant{path: "accountWithRestoreAccess", form: principals}),
	{"redshift.amazonaws.com", "AuthorizeDataShare"}:      shares("dataShareArn", grant{path: "consumerIdentifier", form: principals}),
	{"redshift.amazonaws.com", "DeauthorizeDataShare"}:    shares("dataShareArn").taking(grant{path: "consumerIdentifier", form: principals}),
	{"redshift.amazonaws.com", "PutResourcePolicy"}:       shares("resourceArn", grant{path: "policy", form: policy}), // [U]

	{"dynamodb.amazonaws.com", "ExportTableToPointInTime"}: moves("tableArn", grant{form: replication}),
	{"dynamodb.amazonaws.com", "PutResourcePolicy"}:        shares("resourceArn", grant{path: "policy", form: policy}),
	{"dynamodb.amazonaws.com", "DeleteResourcePolicy"}:     revokes("resourceArn"),
	{"kinesis.amazonaws.com", "PutResourcePolicy"}:         shares("resourceARN", grant{path: "policy", form: policy}), // [U]
	{"kinesis.amazonaws.com", "DeleteResourcePolicy"}:      revokes("resourceARN"),                                     // [U]
	{"glue.amazonaws.com", "PutResourcePolicy"}:            shares("resourceArn", grant{path: "policyInJson", form: policy}),
	{"lakeformation.amazonaws.com", "GrantPermissions"}:    shares("resource", grant{path: "principal.dataLakePrincipalIdentifier", form: principals}),
	{"lakeformation.amazonaws.com", "RevokePermissions"}:   shares("resource").taking(grant{path: "principal.dataLakePrincipalIdentifier", form: principals}),

	{"sns.amazonaws.com", "Subscribe"}:           shares("topicArn", grant{path: "endpoint", form: endpoint}),
	{"sns.amazonaws.com", "AddPermission"}:       shares("topicArn", grant{path: "aWSAccountId", form: principals}, grant{path: "aWSAccountIds", form: principals}), // [U]
	{"sns.amazonaws.com", "RemovePermission"}:    revokes("topicArn"),
	{"sns.amazonaws.com", "SetTopicAttributes"}:  shares("topicArn", grant{path: "attributeValue", form: policy, when: "attributeName=Policy"}),
	{"sqs.amazonaws.com", "AddPermission"}:       shares("queueUrl", grant{path: "aWSAccountIds", form: principals}), // [U]
	{"sqs.amazonaws.com", "RemovePermission"}:    revokes("queueUrl"),
	{"sqs.amazonaws.com", "SetQueueAttributes"}:  shares("queueUrl", grant{path: "attributes.Policy", form: policy}),
	{"events.amazonaws.com", "PutPermission"}:    shares("eventBusName", grant{path: "principal", form: principals}, grant{path: "policy", form: policy}),
	{"events.amazonaws.com", "RemovePermission"}: revokes("eventBusName"),

	{"logs.amazonaws.com", "PutSubscriptionFilter"}: shares("logGroupName", grant{path: "destinationArn", form: principals}),
	{"logs.amazonaws.com", "PutDestinationPolicy"}:  shares("destinationName", grant{path: "accessPolicy", form: policy}),
	{"logs.amazonaws.com", "PutResourcePolicy"}:     shares("policyName", grant{path: "policyDocument", form: policy}),
	{"logs.amazonaws.com", "CreateExportTask"}:      moves("logGroupName", grant{path: "destination", form: bucket}),

	{"ssm.amazonaws.com", "ModifyDocumentPermission"}: shares("name", grant{path: "accountIdsToAdd", form: principals}).
		taking(grant{path: "accountIdsToRemove", form: principals}),
	{"glacier.amazonaws.com", "SetVaultAccessPolicy"}:                shares("vaultName", grant{path: "policy.policy", form: policy}),
	{"glacier.amazonaws.com", "DeleteVaultAccessPolicy"}:             revokes("vaultName"),
	{"backup.amazonaws.com", "PutBackupVaultAccessPolicy"}:           shares("backupVaultName", grant{path: "policy", form: policy}),
	{"backup.amazonaws.com", "DeleteBackupVaultAccessPolicy"}:        revokes("backupVaultName"),
	{"elasticfilesystem.amazonaws.com", "PutFileSystemPolicy"}:       shares("fileSystemId", grant{path: "policy", form: policy}),
	{"elasticfilesystem.amazonaws.com", "DeleteFileSystemPolicy"}:    revokes("fileSystemId"),
	{"codeartifact.amazonaws.com", "PutDomainPermissionsPolicy"}:     shares("domain", grant{path: "policyDocument", form: policy}),
	{"codeartifact.amazonaws.com", "PutRepositoryPermissionsPolicy"}: shares("repository", grant{path: "policyDocument", form: policy}),

	{"cloudtrail.amazonaws.com", "CreateTrail"}:       moves("name", grant{path: "s3BucketName", form: bucket}),
	{"cloudtrail.amazonaws.com", "UpdateTrail"}:       moves("name", grant{path: "s3BucketName", form: bucket}),
	{"cloudtrail.amazonaws.com", "PutEventSelectors"}: moves("trailName"),
	{"cloudtrail.amazonaws.com", "PutResourcePolicy"}: shares("resourceArn", grant{path: "resourcePolicy", form: policy}),
	{"datasync.amazonaws.com", "CreateLocationS3"}:    moves("s3BucketArn", grant{path: "s3BucketArn", form: bucket}),
	{"datasync.amazonaws.com", "CreateTask"}:          moves("sourceLocationArn", grant{path: "destinationLocationArn", form: principals}),
	{"datasync.amazonaws.com", "StartTaskExecution"}:  moves("taskArn"),
	{"ebs.amazonaws.com", "GetSnapshotBlock"}:         moves("snapshotId"),
	{"ebs.amazonaws.com", "ListSnapshotBlocks"}:       moves("snapshotId"),
	{"ebs.amazonaws.com", "ListChangedBlocks"}:        moves("secondSnapshotId"),
}

func shareDBSnapshot(resource string) call {
	const restore = "attributeName=restore"
	return shares(resource, grant{path: "valuesToAdd", form: principals, when: restore}).
		taking(grant{path: "valuesToRemove", form: principals, when: restore})
}

// resourceParameters are the names under which calls that are not in the
// table have what they are about, the best first.
var resourceParameters = map[string]int{
	"bucketname": 1, "snapshotid": 2, "imageid": 3, "volumeid": 4, "dbsnapshotidentifier": 5, "dbclustersnapshotidentifier": 5,
	"dbinstanceidentifier": 6, "dbclusteridentifier": 6, "instanceid": 7, "secretid": 8, "keyid": 9, "tablename": 10, "tablearn": 10,
	"functionname": 11, "repositoryname": 12, "topicarn": 13, "queueurl": 13, "loggroupname": 14, "trailname": 15, "detectorid": 15,
	"resolverquerylogconfigid": 15, "flowlogid": 15, "streamname": 16, "clusteridentifier": 17, "clustername": 17, "filesystemid": 18,
	"taskarn": 19, "jobid": 19, "jobarn": 19, "resourcearn": 20, "rolename": 21, "policyarn": 22, "username": 23, "groupid": 24, "groupname": 24, "vpcid": 25,
	"subnetid": 25, "stackname": 26, "rolearn": 27, "arn": 28, "name": 29, "id": 30,
}
