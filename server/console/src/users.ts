import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { User, UserUpdateSchema } from "@example/userd";
import { CreateUserRequestSchema, type CreateUserRequest } from "@example/userd";

/**
 * Fields are those of a user that people can change, as text, by their names in the schema.
 * Each attribute is a field of its own, "attributes." and its name; one that is missing is
 * an attribute that the user does not have.
 */
export type Fields = Record<string, string>;

export const attributePrefix = "attributes.";

export const labels: Record<string, string> = {
  email: "Email",
  display_name: "Display name",
  external_id: "External id",
  roles: "Roles",
  disabled: "Disabled",
};

export function labelOf(field: string): string {
  return labels[field] ?? `Attribute ${field.slice(attributePrefix.length)}`;
}

/** shortened is the begin of a long text, for where many stand together. */
export function shortened(text: string): string {
  const letters = [...text];
  return letters.length > 200 ? `${letters.slice(0, 200).join("")}…` : text;
}

export const noFields: Fields = { email: "", display_name: "", external_id: "", roles: "", disabled: "no" };

export function fieldsOf(user: User): Fields {
  const fields: Fields = {
    email: user.email,
    display_name: user.displayName,
    external_id: user.externalId,
    roles: user.roles.join(" "),
    disabled: user.disabled ? "yes" : "no",
  };
  for (const name of Object.keys(user.attributes).sort()) {
    fields[attributePrefix + name] = user.attributes[name] ?? "";
  }
  return fields;
}

/** differing are the names of the fields that are not equal. */
export function differing(a: Fields, b: Fields): string[] {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].filter((name) => normal(name, a[name]) !== normal(name, b[name]));
}

function normal(name: string, value: string | undefined): string | undefined {
  return name === "roles" ? rolesOf(value).join(" ") : value;
}

/** rolesOf are the roles in a text, in order and each once. */
export function rolesOf(text: string | undefined): string[] {
  return [...new Set((text ?? "").split(/[\s,]+/).filter((role) => role !== ""))].sort();
}

export function attributesOf(fields: Fields): Record<string, string> {
  const attributes: Record<string, string> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith(attributePrefix)) attributes[name.slice(attributePrefix.length)] = value;
  }
  return attributes;
}

/** updateOf makes one of a user of the other, if it is still at this version. */
export function updateOf(userId: string, expectedVersion: bigint, from: Fields, to: Fields): MessageInitShape<typeof UserUpdateSchema> {
  const update: MessageInitShape<typeof UserUpdateSchema> = { userId, expectedVersion, setAttributes: {}, removeAttributes: [] };
  for (const name of differing(from, to)) {
    const value = to[name];
    if (name === "email") update.email = value;
    else if (name === "display_name") update.displayName = value;
    else if (name === "external_id") update.externalId = value;
    else if (name === "disabled") update.disabled = value === "yes";
    else if (name === "roles") {
      const [had, has] = [rolesOf(from[name]), rolesOf(value)];
      update.addRoles = has.filter((role) => !had.includes(role));
      update.removeRoles = had.filter((role) => !has.includes(role));
    } else {
      const attribute = name.slice(attributePrefix.length);
      if (value === undefined) update.removeAttributes!.push(attribute);
      else update.setAttributes![attribute] = value;
    }
  }
  return update;
}

export function creationOf(fields: Fields, userId = ""): CreateUserRequest {
  return create(CreateUserRequestSchema, {
    userId,
    email: fields.email,
    displayName: fields.display_name,
    externalId: fields.external_id,
    roles: rolesOf(fields.roles),
    disabled: fields.disabled === "yes",
    attributes: attributesOf(fields),
  });
}
