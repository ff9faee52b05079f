{{/* Names are of the release. Pods are their own hosts' names, which end at 63 characters: a pool's
     Deployment must leave room for the 17 that Kubernetes adds. */}}
{{- define "tenstep.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "tenstep.poolName" -}}
{{- $name := printf "%s-worker-%s" (include "tenstep.name" .root) .pool.name }}
{{- if gt (len $name) 46 }}{{ fail (printf "%s: must be 46 characters at most; shorten the name of the release or of the pool" $name) }}{{ end }}
{{- $name }}
{{- end }}

{{/* What selects, and all that pods are labelled with, or each new chart would replace each worker.
     Takes root, component, and perhaps pool. */}}
{{- define "tenstep.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
tenstep/pool: {{ .name }}
{{- end }}
{{- end }}

{{- define "tenstep.labels" -}}
{{ include "tenstep.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Takes root and target. Without a registry a stranger's image of that name would be pulled. */}}
{{- define "tenstep.image" -}}
{{- $image := .root.Values.image }}
{{- $registry := required "image.registry must be given: where your images are" $image.registry }}
{{- $digest := get $image.digests .target }}
{{- $registry }}/{{ .target }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Of a pod's spec, what all have: takes root, on (what says where it runs), and perhaps groups. */}}
{{- define "tenstep.pod" -}}
automountServiceAccountToken: false
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{ include "tenstep.place" . }}
{{- end }}

{{- define "tenstep.place" -}}
# A Service named tenstep-redis would set TENSTEP_REDIS_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  {{- with .groups }}
  supplementalGroups: {{ toJson . }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- range $key := list "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $.on $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of a container, what all have: takes root and target. */}}
{{- define "tenstep.container" -}}
image: {{ include "tenstep.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: secrets, mountPath: /etc/tenstep/secrets, readOnly: true}
  - {name: data, mountPath: /var/lib/tenstep}
  - {name: tmp, mountPath: /tmp}
  {{- if .root.Values.models.existingClaim }}
  - {name: models, mountPath: /models, readOnly: true}
  {{- end }}
{{- end }}

{{/* Its volumes: takes root, data and tmp (sizes), and databaseAlone: it needs no other secret. */}}
{{- define "tenstep.volumes" -}}
- name: secrets
  secret:
    secretName: {{ required "existingSecret must be given: see infra/kubernetes/README.md for its keys" .root.Values.existingSecret }}
    defaultMode: 0440
    items:
      - {key: tenstep_database_url, path: tenstep_database_url}
      {{- if not .databaseAlone }}
      - {key: tenstep_redis_url, path: tenstep_redis_url}
      {{- end }}
      {{- if and .root.Values.s3.keys (not .databaseAlone) }}
      - {key: tenstep_s3_access_key_id, path: tenstep_s3_access_key_id}
      - {key: tenstep_s3_secret_access_key, path: tenstep_s3_secret_access_key}
      {{- end }}
- name: data
  emptyDir: {sizeLimit: {{ .data }}}
- name: tmp
  emptyDir: {sizeLimit: {{ .tmp }}}
{{- with .root.Values.models.existingClaim }}
- name: models
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- end }}

{{/* Settings of all; secrets are files. Takes root, model, and env: what else is set. */}}
{{- define "tenstep.env" -}}
{{- $values := .root.Values -}}
- {name: TENSTEP_SECRETS_DIR, value: /etc/tenstep/secrets}
- {name: TENSTEP_STORAGE_URL, value: {{ required "storageUrl must be given: s3://bucket/prefix" $values.storageUrl | quote }}}
{{- with $values.s3.endpointUrl }}
- {name: TENSTEP_S3_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
- {name: TENSTEP_S3_REGION, value: {{ $values.s3.region | quote }}}
- {name: TENSTEP_MIGRATE_AT_START, value: "false"}
- {name: TENSTEP_MODEL, value: {{ .model | quote }}}
{{- if $values.models.existingClaim }}
- {name: TENSTEP_MODELS_DIR, value: /models}
{{- end }}
{{- range $name, $value := merge (dict) (.env | default dict) $values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* Most ask the database, so they must not be hasty: one that is away for less than a quarter of an
     hour restarts nobody. Takes role and startSeconds. */}}
{{- define "tenstep.probes" -}}
startupProbe:
  exec: {command: [python, /usr/local/lib/tenstep/healthy.py, {{ .role }}]}
  periodSeconds: 15
  timeoutSeconds: 10
  failureThreshold: {{ divf .startSeconds 15 | ceil }}
livenessProbe:
  exec: {command: [python, /usr/local/lib/tenstep/healthy.py, {{ .role }}]}
  periodSeconds: 60
  timeoutSeconds: 10
  failureThreshold: 15
{{- end }}

{{/* Among nodes and zones, where there are several: takes root and component. */}}
{{- define "tenstep.spread" -}}
{{- with .root.Values.spreadOver -}}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tenstep.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}
