//! Mistakes in objects of `certificates`, and what is told of them.

pub(super) const TABLE: &str = r#"
object certificatesigningrequests.certificates.k8s.io {"spec": {"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTU1Bb0dBMVVFQXd3RFlXNXVNUTB3Q3dZRFZRUUtEQVJrWlhaek1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVWQm85NXErSXBiSk5uY3lMUnB5TVFYVUFLSllUbEhpNStiYWJWa2ZWCkdwQVdyaWtYbzFNQkVVcnNod05mdDRlanRkOCtWOVNRaWFjQkpCbzRlZmdSb2FBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJRzE5ZXNjWHZaTDkrY2IwZUsvdDZ0NnNPQUtXdkwrZ2RjZXlTd1pLbjZSOUFpRUFwSFUzQjlkTApNTnNXenFJcUFhdkxHeHo3Y1pUMEcwalkveVAyNW1nZXE3UT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==", "signerName": "example.com/signer", "usages": ["client auth"], "expirationSeconds": 600}, "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "row"}}
create /spec/usages -
    spec.usages: Required value
create /spec/signerName -
    spec.signerName: Required value
create /spec/usages twice
    spec.usages[1]: Duplicate value: "client auth"
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /spec/request ""
    spec.request: Invalid value: "": PEM block type must be CERTIFICATE REQUEST
create /spec/expirationSeconds 0
    spec.expirationSeconds: Invalid value: 0: may not specify a duration less than 600 seconds (10 minutes)
create /spec/usages/0 ""
    spec.usages[0]: Unsupported value: "": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object certificatesigningrequests.certificates.k8s.io {"spec": {"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTU1Bb0dBMVVFQXd3RFlXNXVNUTB3Q3dZRFZRUUtEQVJrWlhaek1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVWQm85NXErSXBiSk5uY3lMUnB5TVFYVUFLSllUbEhpNStiYWJWa2ZWCkdwQVdyaWtYbzFNQkVVcnNod05mdDRlanRkOCtWOVNRaWFjQkpCbzRlZmdSb2FBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJRzE5ZXNjWHZaTDkrY2IwZUsvdDZ0NnNPQUtXdkwrZ2RjZXlTd1pLbjZSOUFpRUFwSFUzQjlkTApNTnNXenFJcUFhdkxHeHo3Y1pUMEcwalkveVAyNW1nZXE3UT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==", "signerName": "example.com/signer", "usages": ["client auth"], "expirationSeconds": 600}, "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
object clustertrustbundles.certificates.k8s.io {"spec": {"trustBundle": "-----BEGIN CERTIFICATE-----\nMIIBczCCARmgAwIBAgIUQVQASqfy+TkgOnRjXW/oF/BuiKgwCgYIKoZIzj0EAwIw\nDjEMMAoGA1UEAwwDcm93MCAXDTI2MTEyMDE4MTg1M1oYDzIxMjYxMDI3MTgxODUz\nWjAOMQwwCgYDVQQDDANyb3cwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS4kjrb\nBhAjMDTEDCr/ZMFeNGMZbGL4sNQfhrttZvr6c1L/YB6b6hwYTuoj2zN9Ltx1KXAG\nSOuP2kDCUUCaaszdo1MwUTAdBgNVHQ4EFgQU1IK/tlXjfPc4zLTSD22eaEiGZhMw\nHwYDVR0jBBgwFoAU1IK/tlXjfPc4zLTSD22eaEiGZhMwDwYDVR0TAQH/BAUwAwEB\n/zAKBggqhkjOPQQDAgNIADBFAiBTUAJ38i4fX7aF7YMh/W6ARxZ3XKm7BtiI8dzE\nNf8+mwIhAPTVll3JJicheTf2FDpRxWU46iTwpwWvkfgomrh9yeQB\n-----END CERTIFICATE-----\n"}, "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle", "metadata": {"name": "row"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec -
    spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided
create /metadata/name ""
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /metadata/resourceVersion ""
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object clustertrustbundles.certificates.k8s.io {"spec": {"trustBundle": "-----BEGIN CERTIFICATE-----\nMIIBczCCARmgAwIBAgIUQVQASqfy+TkgOnRjXW/oF/BuiKgwCgYIKoZIzj0EAwIw\nDjEMMAoGA1UEAwwDcm93MCAXDTI2MTEyMDE4MTg1M1oYDzIxMjYxMDI3MTgxODUz\nWjAOMQwwCgYDVQQDDANyb3cwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAS4kjrb\nBhAjMDTEDCr/ZMFeNGMZbGL4sNQfhrttZvr6c1L/YB6b6hwYTuoj2zN9Ltx1KXAG\nSOuP2kDCUUCaaszdo1MwUTAdBgNVHQ4EFgQU1IK/tlXjfPc4zLTSD22eaEiGZhMw\nHwYDVR0jBBgwFoAU1IK/tlXjfPc4zLTSD22eaEiGZhMwDwYDVR0TAQH/BAUwAwEB\n/zAKBggqhkjOPQQDAgNIADBFAiBTUAJ38i4fX7aF7YMh/W6ARxZ3XKm7BtiI8dzE\nNf8+mwIhAPTVll3JJicheTf2FDpRxWU46iTwpwWvkfgomrh9yeQB\n-----END CERTIFICATE-----\n"}, "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
create /metadata/labels/a "-1"
    metadata.labels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
create /metadata/finalizers/0 "x/y/z"
    metadata.finalizers: Invalid value: "x/y/z": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
object podcertificaterequests.certificates.k8s.io {"spec": {"signerName": "example.com/row", "podName": "p", "podUID": "u", "serviceAccountName": "default", "serviceAccountUID": "u", "nodeName": "n", "nodeUID": "u", "maxExpirationSeconds": 3600, "unverifiedUserAnnotations": {"a.b/c": "d"}, "stubPKCS10Request": "MIHXMH8CAQAwHTEMMAoGA1UEAwwDYW5uMQ0wCwYDVQQKDARkZXZzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVBo95q+IpbJNncyLRpyMQXUAKJYTlHi5+babVkfVGpAWrikXo1MBEUrshwNft4ejtd8+V9SQiacBJBo4efgRoaAAMAoGCCqGSM49BAMCA0gAMEUCIG19escXvZL9+cb0eK/t6t6sOAKWvL+gdceySwZKn6R9AiEApHU3B9dLMNsWzqIqAavLGxz7cZT0G0jY/yP25mgeq7Q="}, "apiVersion": "certificates.k8s.io/v1beta1", "kind": "PodCertificateRequest", "metadata": {"name": "row", "namespace": "default"}}
create /spec/signerName -
    spec.signerName: Required value
create /spec/podUID -
    spec.podUID: Invalid value: "": must not be empty
create /spec/nodeUID -
    spec.nodeUID: Invalid value: "": must not be empty
create /spec/serviceAccountUID -
    spec.serviceAccountUID: Invalid value: "": must not be empty
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/maxExpirationSeconds 0
    spec.maxExpirationSeconds: Invalid value: 0: must be in the range [3600, 7862400]
create /spec/stubPKCS10Request -
    spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set
create /spec/stubPKCS10Request "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR
create /spec/podName -
    spec.podName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
create /spec/nodeName -
    spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
"#;
