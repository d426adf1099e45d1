{{/* Other releases whose operator serves a namespace that this one serves, too. */}}

{{/*
Bindings of operators' rights in the namespaces that this release's operator serves. Nothing where charts are rendered without the
cluster, and nothing with crds.check=false: whoever sets that may not look around. An operator of all namespaces is found by one that
serves them all, and by nobody else: reading ClusterRoleBindings is more than the right to install in a namespace.
*/}}
{{- define "dtq.operatorBindings" -}}
{{- $found := list -}}
{{- if and .Values.operator.enabled .Values.crds.check -}}
{{- $api := "rbac.authorization.k8s.io/v1" -}}
{{- $places := default (list .Release.Namespace) .Values.operator.namespaces | uniq -}}
{{- if .Values.operator.clusterWide -}}
{{- $found = concat $found (default (list) (lookup $api "ClusterRoleBinding" "" "").items) -}}
{{- end -}}
{{- range $places -}}
{{- $found = concat $found (default (list) (lookup $api "RoleBinding" . "").items) -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* Whose they are, without this release's own, as a JSON list of texts. Takes root and found (bindings). */}}
{{- define "dtq.otherOperators" -}}
{{- $root := .root -}}
{{- $others := list -}}
{{- range .found -}}
{{- $labels := default (dict) .metadata.labels -}}
{{- $home := (first (default (list (dict)) .subjects)).namespace -}}
{{- $release := index $labels "app.kubernetes.io/instance" -}}
{{- $operator := and (eq (toString (index $labels "app.kubernetes.io/part-of")) "dtq") (eq (toString (index $labels "app.kubernetes.io/component")) "operator") -}}
{{- if and $operator (not (and (eq $release $root.Release.Name) (eq $home $root.Release.Namespace))) -}}
{{- $others = append $others (printf "%s in namespace %s (%s)" $release $home (ternary (printf "it serves %s" .metadata.namespace) "it serves every namespace" (hasKey .metadata "namespace"))) -}}
{{- end -}}
{{- end -}}
{{- $others | uniq | sortAlpha | toJson -}}
{{- end -}}
