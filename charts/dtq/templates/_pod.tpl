{{/* What every pod has: Pod Security "restricted", placement, probes, volumes. */}}

{{/* securityContext of every container. */}}
{{- define "dtq.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* securityContext of every pod. Takes the service's podSecurity. */}}
{{- define "dtq.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
fsGroupChangePolicy: OnRootMismatch
{{- range $name, $value := . }}
{{ $name }}: {{ include "dtq.scalar" $value }}
{{- end }}
{{- end -}}

{{/*
Not empty for pods that mount a claim for blobs which one node at a time can mount. Kubernetes does not see to it that they meet there:
a second node would fail to attach the volume. Takes root and blobs.
*/}}
{{- define "dtq.together" -}}
{{- with .root.Values.blobs -}}
{{- if and $.blobs (not .url) (not (has "ReadWriteMany" .persistence.accessModes)) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Affinity as JSON: the service's own, and for these pods one towards each other, whose label they share. The first one may start
anywhere, since it is one of those it looks for. Takes root, service and blobs.
*/}}
{{- define "dtq.affinity" -}}
{{- $affinity := deepCopy (default (dict) .service.affinity) -}}
{{- if include "dtq.together" . -}}
{{- $labels := dict "dtq.dev/blobs" (include "dtq.fullname" .root) -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $own := default (dict) $affinity.podAffinity -}}
{{- $required := default (list) $own.requiredDuringSchedulingIgnoredDuringExecution -}}
{{- $_ := set $own "requiredDuringSchedulingIgnoredDuringExecution" (append $required $term) -}}
{{- $_ := set $affinity "podAffinity" $own -}}
{{- end -}}
{{- $affinity | toJson -}}
{{- end -}}

{{/* Fields of a pod's spec that all have. Takes root, service (values), account, component, pool and blobs. */}}
{{- define "dtq.podSpec" -}}
serviceAccountName: {{ .account | quote }}
automountServiceAccountToken: {{ eq .component "operator" }}
enableServiceLinks: false
securityContext:
  {{- include "dtq.podSecurity" .service.podSecurity | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .service.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .service.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .service.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "dtq.affinity" . | fromJson }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and (dig "topologySpread" "enabled" false .service) (not (include "dtq.together" .)) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ .service.topologySpread.topologyKey | quote }}
    whenUnsatisfiable: {{ .service.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "dtq.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{/* metadata of a pod template. Takes root, service, component, pool, blobs and checksums. Without versions: a new one of the chart alone
shall restart nothing. */}}
{{- define "dtq.podMetadata" -}}
labels:
  {{- include "dtq.selector" . | nindent 2 }}
  {{- if include "dtq.together" . }}
  dtq.dev/blobs: {{ include "dtq.fullname" .root | quote }}
  {{- end }}
  {{- with merge (dict) (default (dict) .service.podLabels) (default (dict) .root.Values.commonLabels) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- $annotations := merge (dict) (default (dict) .service.podAnnotations) (default (dict) .root.Values.podAnnotations) .checksums }}
  {{- toYaml $annotations | nindent 2 }}
{{- end -}}

{{/* Image, pull policy and security of a DTQ container. Takes root, service and component. */}}
{{- define "dtq.container" -}}
image: {{ include "dtq.image" (dict "root" .root "component" .component "image" .service.image) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "dtq.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/*
Probes of a DTQ container; a check of /readyz may take 2 s. Takes the port's name.
A submitter once ready stays so for five minutes without Redis: it answers 503 and when to try again, where an ingress controller without
a pod that is ready would answer 404 or nothing.
*/}}
{{- define "dtq.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ ternary 60 2 (eq . "http") }}
{{- end -}}

{{/*
The init container that brings the database to the present schema. It is part of the pods, not a hook: hooks run after `--wait`, and
the pods would never become ready. Any number may run at once. Takes root, service and component.
*/}}
{{- define "dtq.migrate" -}}
- name: migrate
  {{- include "dtq.container" . | nindent 2 }}
  command: [dtq, migrate, --wait, "120"]
  env:
    {{- include "dtq.env.database" .root | nindent 4 }}
    {{- with .service.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    {{- toYaml .service.resources | nindent 4 }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- /* The URL may name a certificate that is mounted so. */}}
    {{- with .service.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Volumes of a DTQ pod. Takes root, service, and blobs and keys (whether it has these). */}}
{{- define "dtq.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .service.tmpSize | quote }}
{{- if and .blobs (not .root.Values.blobs.url) }}
- name: blobs
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-blobs" (include "dtq.fullname" .root)) .root.Values.blobs.persistence.existingClaim | quote }}
{{- end }}
{{- if and .keys (not .root.Values.auth.anonymous) }}
- name: api-keys
  secret:
    secretName: {{ include "dtq.keysSecret" .root | quote }}
    items:
      - key: keys
        path: keys
    defaultMode: 0440
{{- end }}
{{- with .service.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where they are mounted; takes the same. */}}
{{- define "dtq.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if and .blobs (not .root.Values.blobs.url) }}
- name: blobs
  mountPath: /var/lib/dtq/blobs
{{- end }}
{{- if and .keys (not .root.Values.auth.anonymous) }}
- name: api-keys
  mountPath: /etc/dtq/api-keys
  readOnly: true
{{- end }}
{{- with .service.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
