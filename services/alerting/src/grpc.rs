//! `fresnel.alerting.v1`: parse, call, render.

use std::sync::Arc;

use events::{AlertId, Timestamp};
use proto::alerting::v1 as api;
use proto::alerting::v1::alert_service_server::{AlertService, AlertServiceServer};
use proto::alerting::v1::rule_service_server::{RuleService, RuleServiceServer};
use runtime::invalid_argument;
use tonic::{Request, Response, Status};

use crate::alert::{Alert, State};
use crate::handler::Desk;
use crate::rule::Rule;

/// Full names of the services.
pub const NAMES: [&str; 2] = [
    "fresnel.alerting.v1.AlertService",
    "fresnel.alerting.v1.RuleService",
];

/// Items in a page where the request does not say, and at most.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;
/// Characters of a name or comment.
const LONGEST_TEXT: usize = 1000;
/// The reason of a resolution where the operator gives none.
const BY_OPERATOR: &str = "operator";

/// Both services.
#[must_use]
pub fn routes(desk: Desk) -> tonic::service::Routes {
    let service = Arc::new(Service { desk });
    tonic::service::Routes::new(AlertServiceServer::from_arc(Arc::clone(&service)))
        .add_service(RuleServiceServer::from_arc(service))
}

struct Service {
    desk: Desk,
}

#[tonic::async_trait]
impl AlertService for Service {
    async fn list_alerts(
        &self,
        request: Request<api::ListAlertsRequest>,
    ) -> Result<Response<api::ListAlertsResponse>, Status> {
        let api::ListAlertsRequest {
            page_size,
            page_token,
            state,
        } = request.into_inner();
        let size = items(page_size)?;
        let wanted = api::AlertState::try_from(state)
            .map_err(|_| invalid_argument("state", format!("{state} is no state of an alert")))?;
        let after = position(&page_token)?;
        let mut alerts = self
            .desk
            .list(after, size + 1, |alert| {
                wanted == api::AlertState::Unspecified || render_state(alert) == wanted
            })
            .await;
        let more = alerts.len() > size;
        alerts.truncate(size);
        let next_page_token = match alerts.last() {
            Some(last) if more => format!("{}.{}", last.raised.timestamp.as_micros(), last.id()),
            _ => String::new(),
        };
        let alerts = alerts.into_iter().map(render).collect();
        Ok(Response::new(api::ListAlertsResponse {
            alerts,
            next_page_token,
        }))
    }

    async fn get_alert(
        &self,
        request: Request<api::GetAlertRequest>,
    ) -> Result<Response<api::GetAlertResponse>, Status> {
        let id = id(&request.into_inner().alert_id)?;
        let alert = self.desk.get(id).await?;
        Ok(Response::new(api::GetAlertResponse {
            alert: Some(render(alert)),
        }))
    }

    async fn acknowledge_alert(
        &self,
        request: Request<api::AcknowledgeAlertRequest>,
    ) -> Result<Response<api::AcknowledgeAlertResponse>, Status> {
        let api::AcknowledgeAlertRequest {
            alert_id,
            acknowledged_by,
            comment,
        } = request.into_inner();
        let id = id(&alert_id)?;
        let by = required("acknowledged_by", acknowledged_by)?;
        let comment = text("comment", comment)?;
        let alert = self
            .desk
            .acknowledge(id, &by, (!comment.is_empty()).then_some(comment))
            .await?;
        Ok(Response::new(api::AcknowledgeAlertResponse {
            alert: Some(render(alert)),
        }))
    }

    async fn resolve_alert(
        &self,
        request: Request<api::ResolveAlertRequest>,
    ) -> Result<Response<api::ResolveAlertResponse>, Status> {
        let api::ResolveAlertRequest {
            alert_id,
            resolved_by,
            reason,
        } = request.into_inner();
        let id = id(&alert_id)?;
        let by = required("resolved_by", resolved_by)?;
        let reason = text("reason", reason)?;
        let reason = if reason.is_empty() {
            BY_OPERATOR
        } else {
            &reason
        };
        let alert = self.desk.resolve(id, &by, reason).await?;
        Ok(Response::new(api::ResolveAlertResponse {
            alert: Some(render(alert)),
        }))
    }
}

#[tonic::async_trait]
impl RuleService for Service {
    async fn list_rules(
        &self,
        request: Request<api::ListRulesRequest>,
    ) -> Result<Response<api::ListRulesResponse>, Status> {
        let api::ListRulesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = items(page_size)?;
        let all = self.desk.rules();
        let begin = if page_token.is_empty() {
            0
        } else {
            let last = all.iter().position(|rule| rule.id.as_str() == page_token);
            last.ok_or_else(|| invalid_argument("page_token", "no page of this list begins there"))?
                + 1
        };
        let page: Vec<&Rule> = all.iter().skip(begin).take(size).collect();
        let next_page_token = match page.last() {
            Some(last) if all.len() - begin > size => last.id.to_string(),
            _ => String::new(),
        };
        let rules = page.into_iter().map(render_rule).collect();
        Ok(Response::new(api::ListRulesResponse {
            rules,
            next_page_token,
        }))
    }
}

fn id(text: &str) -> Result<AlertId, Status> {
    let id = text.parse().map(AlertId);
    id.map_err(|_| invalid_argument("alert_id", format!("{:?} is no UUID", shortened(text))))
}

fn items(page_size: i32) -> Result<usize, Status> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE),
        Ok(size) => Ok(size.min(LARGEST_PAGE)),
        Err(_) => Err(invalid_argument(
            "page_size",
            format!("{page_size} is negative"),
        )),
    }
}

/// Where a page begins: after the alert of this time and id.
fn position(token: &str) -> Result<Option<(Timestamp, AlertId)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.split_once('.').and_then(|(micros, id)| {
        Some((
            Timestamp::from_micros(micros.parse().ok()?),
            AlertId(id.parse().ok()?),
        ))
    });
    parsed
        .map(Some)
        .ok_or_else(|| invalid_argument("page_token", "no page of this list begins there"))
}

fn text(field: &str, text: String) -> Result<String, Status> {
    let length = text.chars().count();
    if length > LONGEST_TEXT {
        return Err(invalid_argument(
            field,
            format!("has {length} characters; at most {LONGEST_TEXT} are allowed"),
        ));
    }
    Ok(text)
}

fn required(field: &str, given: String) -> Result<String, Status> {
    let given = text(field, given)?;
    match given.trim() {
        "" => Err(invalid_argument(field, "must say who it is")),
        trimmed => Ok(trimmed.to_owned()),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn render_state(alert: &Alert) -> api::AlertState {
    match alert.state() {
        State::Firing => api::AlertState::Firing,
        State::Acknowledged => api::AlertState::Acknowledged,
        State::Resolved => api::AlertState::Resolved,
    }
}

fn render(alert: Alert) -> api::Alert {
    let state = render_state(&alert).into();
    let raised = alert.raised;
    api::Alert {
        alert_id: raised.alert_id.to_string(),
        rule_id: raised.rule_id.to_string(),
        state,
        severity: raised.severity.to_string(),
        title: raised.title,
        message: raised.message,
        labels: raised.labels.into_iter().collect(),
        zone: raised
            .zone_id
            .map(|zone| zone.to_string())
            .unwrap_or_default(),
        trigger_event_id: raised.trigger_event_id.to_string(),
        fingerprint: raised.fingerprint,
        raise_time: Some(time(raised.timestamp)),
        acknowledged_by: alert
            .acknowledged
            .map(|event| event.acknowledged_by)
            .unwrap_or_default(),
    }
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
}

#[allow(clippy::cast_possible_truncation)] // the API's type
fn render_rule(rule: &Rule) -> api::Rule {
    api::Rule {
        rule_id: rule.id.to_string(),
        event_type: rule.event_type.clone(),
        min_score: rule.threshold.map(|threshold| threshold.number() as f32),
        zone: rule
            .zone
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        severity: rule.severity.to_string(),
        built_in: rule.built_in,
    }
}
